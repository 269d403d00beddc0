import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../infra/telemetry/logger.js';
import type { Listener } from '../../store/listener.js';
import type { Channel } from '../../store/notifier.js';
import { retryWaitMs } from '../../store/retry-wait.js';

/** Whatever wake-ups say, everything that is followed is looked at this often. */
const pollMs = 1_000;
/** So many things are looked at in one statement. */
const keysPerLook = 100;
/** The smallest share of a whole look: of one thing alone. */
const leastShare = 1 / 128;
/** Looks are no closer together, in milliseconds, so that under load one of them sees the news of many. */
const apartMs = 10;
const longestRetryMs = 3_000;

export interface BatchedLookOptions {
  readonly listener: Pick<Listener, 'subscribe'>;
  readonly channel: Channel;
  readonly logger: Logger;
  /**
   * Looks at these, at most a hundred; answers those that have more to be seen at once. Of each it should ask for no more than `share` of what it may
   * bring: 1, halved with each look at it that failed.
   */
  look(keys: readonly string[], share: number): Promise<readonly string[]>;
}

/**
 * Looks at rows that readers of this process follow, once for all of them: at those that were woken, many in one statement, and every second at all, so
 * that a wake-up that was lost delays nothing for longer. A look that fails is logged and tried again for ever; what is followed just waits.
 *
 * A look may fail because it asks for too much: whoever was in it is looked at in a group of half the size the next time, for half as much, down to one alone;
 * with each success it is twice as much again. So one that cannot be read is soon alone, and the others go on.
 */
export class BatchedLooks {
  readonly #options: BatchedLookOptions;
  /** With what ends the wake-ups of each. */
  readonly #followed = new Map<string, () => void>();
  readonly #woken = new Set<string>();
  /** Those whose last look failed. */
  readonly #cautious = new Map<string, { readonly share: number; readonly notBefore: number }>();
  #nudge: () => void = () => undefined;
  #isRunning = false;

  constructor(options: BatchedLookOptions) {
    this.#options = options;
  }

  /** Follows `key`, which is looked at at once; it must not be followed already. */
  follow(key: string): void {
    const wake = () => {
      this.#woken.add(key);
      this.#nudge();
    };
    this.#followed.set(key, this.#options.listener.subscribe(this.#options.channel, key, wake));
    wake();
    if (!this.#isRunning) void this.#run();
  }

  unfollow(key: string): void {
    this.#followed.get(key)?.();
    this.#followed.delete(key);
    this.#woken.delete(key);
    this.#cautious.delete(key);
    this.#nudge();
  }

  /** Until nothing is followed; never rejects. */
  async #run(): Promise<void> {
    this.#isRunning = true;
    let pollAt = performance.now() + pollMs;
    let nextLookAt = 0;
    for (let failures = 0; this.#followed.size > 0; ) {
      if (performance.now() >= pollAt) {
        for (const key of this.#followed.keys()) this.#woken.add(key);
        pollAt = performance.now() + pollMs;
      }
      const { keys, share } = this.#nextKeys();
      if (keys.length === 0) {
        await this.#pause(pollAt - performance.now());
        continue;
      }
      if (performance.now() < nextLookAt) {
        // More may be woken meanwhile.
        await sleep(nextLookAt - performance.now());
        continue;
      }
      nextLookAt = performance.now() + apartMs;
      for (const key of keys) this.#woken.delete(key);
      try {
        const unfinished = await this.#options.look(keys, share);
        this.#wakeAgain(unfinished);
        this.#setShare(keys, share * 2);
        failures = 0;
      } catch (error) {
        failures += 1;
        this.#wakeAgain(keys);
        this.#setShare(keys, share / 2);
        await this.#backOff(failures, error);
      }
    }
    this.#isRunning = false;
  }

  /** Those that have waited longest, all to be looked at with the same caution; none: nothing may be looked at now. */
  #nextKeys(): { readonly keys: readonly string[]; readonly share: number } {
    const now = performance.now();
    const ready = [...this.#woken].filter((key) => (this.#cautious.get(key)?.notBefore ?? 0) <= now);
    const share = this.#shareOf(ready[0]);
    const most = Math.max(1, Math.floor(keysPerLook * share));
    return { keys: ready.filter((key) => this.#shareOf(key) === share).slice(0, most), share };
  }

  #shareOf(key: string | undefined): number {
    return (key === undefined ? undefined : this.#cautious.get(key)?.share) ?? 1;
  }

  #setShare(keys: readonly string[], share: number): void {
    for (const key of keys) {
      if (share >= 1 || !this.#followed.has(key)) this.#cautious.delete(key);
      // One that fails alone must not take every other look.
      else if (share < leastShare)
        this.#cautious.set(key, { share: leastShare, notBefore: performance.now() + longestRetryMs });
      else this.#cautious.set(key, { share, notBefore: 0 });
    }
  }

  #wakeAgain(keys: readonly string[]): void {
    for (const key of keys) if (this.#followed.has(key)) this.#woken.add(key);
  }

  async #backOff(failures: number, cause: unknown): Promise<void> {
    const waitMs = retryWaitMs(failures, longestRetryMs);
    this.#options.logger.warn(
      { channel: this.#options.channel, attempt: failures, waitMs: Math.round(waitMs), cause },
      'streams cannot be read on; their readers wait',
    );
    await sleep(waitMs);
  }

  /** Until something is woken, at most `timeMs`. */
  async #pause(timeMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeMs);
      this.#nudge = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#nudge = () => undefined;
  }
}
