import { AgentRunError } from '../../contract/errors.js';
import type { Caller } from '../auth.js';
import { callerKey } from '../rate-limit.js';
import { tenantOf } from '../tenancy.js';
import type { StreamLimits } from './stream-source.js';

type CapLimits = Pick<StreamLimits, 'perProcess' | 'perRun' | 'perToken' | 'perTenant'>;

const retryAfterSeconds = 5;

/** How many streams are open in this process: in all, per token, per tenant, and per run or session (decisions.md, "Stream frames"). */
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
   * @throws AgentRunError `unavailable` when this process has too many, `rate-limited` when the token, its tenant or the run has.
   */
  open(caller: Caller, cappedBy: string | null): () => void {
    const { perProcess, perToken, perTenant, perRun } = this.#limits;
    if (this.#all >= perProcess)
      throw new AgentRunError(
        'unavailable',
        'this process serves as many streams as AGENTRUN_STREAMS_PER_PROCESS says',
        {
          retryAfterSeconds,
        },
      );
    const tenantId = tenantOf(caller);
    const counted = [
      {
        key: `token ${callerKey(caller)}`,
        limit: perToken,
        whose: 'of this token',
        setting: 'AGENTRUN_STREAMS_PER_TOKEN',
      },
      ...(tenantId === undefined
        ? []
        : [
            {
              key: `tenant ${tenantId}`,
              limit: perTenant,
              whose: 'of this tenant',
              setting: 'AGENTRUN_STREAMS_PER_TENANT',
            },
          ]),
      ...(cappedBy === null
        ? []
        : [{ key: cappedBy, limit: perRun, whose: `of ${cappedBy}`, setting: 'AGENTRUN_STREAMS_PER_RUN' }]),
    ];
    for (const { key, limit, whose, setting } of counted)
      this.#refuseFrom(key, limit, `${whose} are open already (${setting})`);
    const keys = counted.map(({ key }) => key);
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

  #refuseFrom(key: string, limit: number, what: string): void {
    if ((this.#open.get(key) ?? 0) < limit) return;
    throw new AgentRunError('rate-limited', `${limit} streams ${what}`, {
      retryAfterSeconds,
    });
  }
}
