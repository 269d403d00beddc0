import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../infra/telemetry/logger.js';

const attempts = 40;
const firstRetryMs = 100;
const longestRetryMs = 4_000;

/** Reads of single streams, a few at a time: however many readers come back at once, the pool is left to others. */
export class BoundedReads {
  readonly #logger: Logger;
  #free: number;
  readonly #queue: (() => void)[] = [];

  constructor(logger: Logger, atOnce = 4) {
    this.#logger = logger;
    this.#free = atOnce;
  }

  /**
   * Reads in turn. A failure is logged and tried again, for about two minutes.
   *
   * @throws the last failure; an error when `signal` is aborted first, whose reader wants nothing any more.
   */
  async read<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#inTurn(() => {
          signal.throwIfAborted();
          return work();
        });
      } catch (cause) {
        if (attempt === attempts || signal.aborted) throw cause;
        const waitMs = Math.min(longestRetryMs, firstRetryMs * 2 ** attempt) * (0.5 + Math.random() / 2);
        this.#logger.warn(
          { attempt, waitMs: Math.round(waitMs), cause },
          'a stream cannot be read on; its reader waits',
        );
        await sleep(waitMs, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#queue.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#queue.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
