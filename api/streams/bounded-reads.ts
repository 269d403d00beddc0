import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../infra/telemetry/logger.js';
import { retryWaitMs } from '../../store/retry-wait.js';

const attempts = 40;
const longestRetryMs = 4_000;

/**
 * Reads of single streams, a few at a time: however many readers come back at once, the pool is left to others. Callers are served in turn, whatever each of
 * them waits for.
 */
export class BoundedReads {
  readonly #logger: Logger;
  #free: number;
  /** Who waits, by caller; the next turn is that of the first. */
  readonly #queues = new Map<string, (() => void)[]>();

  constructor(logger: Logger, atOnce = 4) {
    this.#logger = logger;
    this.#free = atOnce;
  }

  /**
   * Reads in turn. A failure is logged and tried again, for about two minutes.
   *
   * @param whose the caller whose turn it takes.
   * @throws the last failure; an error when `signal` is aborted first, whose reader wants nothing any more.
   */
  async read<T>(work: () => Promise<T>, signal: AbortSignal, whose = ''): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.once(() => {
          signal.throwIfAborted();
          return work();
        }, whose);
      } catch (cause) {
        if (attempt === attempts || signal.aborted) throw cause;
        const waitMs = retryWaitMs(attempt, longestRetryMs);
        this.#logger.warn(
          { attempt, waitMs: Math.round(waitMs), cause },
          'a stream cannot be read on; its reader waits',
        );
        await sleep(waitMs, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /** As {@link read}, without another try: throws the first failure. */
  async once<T>(work: () => Promise<T>, whose = ''): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await this.#turnOf(whose);
    try {
      return await work();
    } finally {
      this.#passOn();
    }
  }

  async #turnOf(whose: string): Promise<void> {
    const queue = this.#queues.get(whose) ?? [];
    this.#queues.set(whose, queue);
    await new Promise<void>((resolve) => queue.push(resolve));
  }

  #passOn(): void {
    for (const [whose, queue] of this.#queues) {
      this.#queues.delete(whose);
      const next = queue.shift();
      // Behind all others.
      if (queue.length > 0) this.#queues.set(whose, queue);
      if (next === undefined) continue;
      next();
      return;
    }
    this.#free += 1;
  }
}
