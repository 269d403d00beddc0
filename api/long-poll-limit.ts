import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { Caller } from './auth.js';
import { callerKey } from './rate-limit.js';

/** As for streams (decisions.md): of one caller, and of all API callers together. Runners are as many as there are turns: each has its own bound. */
const limits = { perCaller: 100, perProcess: 1_000 } as const;
const retryAfterSeconds = 5;

const waitingSchema = z.object({ waitMs: z.coerce.number().positive() });
const isWaiting = (part: unknown) => waitingSchema.safeParse(part).success;

/** How many requests may wait for something to happen at once. */
export class LongPollLimit {
  readonly #open = new Map<string, number>();
  #ofApiCallers = 0;

  /**
   * Counts a request that asks to wait, until the answer of this is called.
   *
   * @throws AgentRunError `rate-limited` when the caller has too many, `unavailable` when this process has.
   */
  open(caller: Caller, asked: { readonly query: unknown; readonly body: unknown }): () => void {
    if (!isWaiting(asked.query) && !isWaiting(asked.body)) return () => undefined;
    const key = callerKey(caller);
    const mine = this.#open.get(key) ?? 0;
    const shared = caller.kind === 'api' ? 1 : 0;
    if (mine >= limits.perCaller) {
      const message = `more than ${limits.perCaller} requests of this caller wait already`;
      throw new AgentRunError('rate-limited', message, { retryAfterSeconds });
    }
    if (this.#ofApiCallers + shared > limits.perProcess) {
      throw new AgentRunError('unavailable', 'too many requests wait already', { retryAfterSeconds });
    }
    this.#open.set(key, mine + 1);
    this.#ofApiCallers += shared;
    return () => {
      const left = (this.#open.get(key) ?? 1) - 1;
      if (left === 0) this.#open.delete(key);
      else this.#open.set(key, left);
      this.#ofApiCallers -= shared;
    };
  }
}
