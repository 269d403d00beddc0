import { AgentRunError } from '../../contract/errors.js';
import type { Caller } from '../auth.js';
import { callerKey } from '../rate-limit.js';
import type { StreamLimits } from './stream-source.js';

type CapLimits = Pick<StreamLimits, 'perProcess' | 'perRun' | 'perToken'>;

const retryAfterSeconds = 5;

/** How many streams are open in this process: in all, per token, and per run or session (decisions.md, "Stream frames"). */
export class StreamCaps {
  readonly #limits: CapLimits;
  readonly #open = new Map<string, number>();
  #all = 0;

  constructor(limits: CapLimits) {
    this.#limits = limits;
  }

  /**
   * Counts a stream until the answer of this is called.
   *
   * @param cappedBy what the cap per run counts by; null: nothing.
   * @throws AgentRunError `unavailable` when this process has too many, `rate-limited` when the token or the run has.
   */
  open(caller: Caller, cappedBy: string | null): () => void {
    const { perProcess, perToken, perRun } = this.#limits;
    const token = `token ${callerKey(caller)}`;
    if (this.#all >= perProcess)
      throw new AgentRunError('unavailable', 'this process serves as many streams as it may', {
        retryAfterSeconds,
      });
    this.#refuseFrom(token, perToken, 'of this token');
    if (cappedBy !== null) this.#refuseFrom(cappedBy, perRun, `of ${cappedBy}`);
    const keys = cappedBy === null ? [token] : [token, cappedBy];
    this.#all += 1;
    for (const key of keys) this.#open.set(key, (this.#open.get(key) ?? 0) + 1);
    return () => {
      this.#all -= 1;
      for (const key of keys) {
        const left = (this.#open.get(key) ?? 1) - 1;
        if (left === 0) this.#open.delete(key);
        else this.#open.set(key, left);
      }
    };
  }

  #refuseFrom(key: string, limit: number, whose: string): void {
    if ((this.#open.get(key) ?? 0) < limit) return;
    throw new AgentRunError('rate-limited', `${limit} streams ${whose} are open already`, {
      retryAfterSeconds,
    });
  }
}
