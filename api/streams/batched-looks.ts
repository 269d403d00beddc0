import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../infra/telemetry/logger.js';
import type { Listener } from '../../store/listener.js';
import type { Channel } from '../../store/notifier.js';

/** Whatever wake-ups say, everything that is followed is looked at this often. */
const pollMs = 1_000;
/** So many things are looked at in one statement. */
const keysPerLook = 100;
/** Looks are no closer together, in milliseconds, so that under load one of them sees the news of many. */
const apartMs = 10;
const firstRetryMs = 100;
const longestRetryMs = 3_000;

export interface BatchedLookOptions {
  readonly listener: Pick<Listener, 'subscribe'>;
  readonly channel: Channel;
  readonly logger: Logger;
  /** Looks at these, at most a hundred; answers those that have more to be seen at once. */
  look(keys: readonly string[]): Promise<readonly string[]>;
}

/**
 * Looks at rows that readers of this process follow, once for all of them: at those that were woken, many in one statement, and every second at all, so
 * that a wake-up that was lost delays nothing for longer. A look that fails is logged and tried again for ever; what is followed just waits.
 */
export class BatchedLooks {
  readonly #options: BatchedLookOptions;
  /** With what ends the wake-ups of each. */
  readonly #followed = new Map<string, () => void>();
  readonly #woken = new Set<string>();
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
      if (this.#woken.size === 0) {
        await this.#pause(pollAt - performance.now());
        continue;
      }
      if (performance.now() < nextLookAt) await sleep(nextLookAt - performance.now());
      nextLookAt = performance.now() + apartMs;
      const keys = [...this.#woken].slice(0, keysPerLook);
      for (const key of keys) this.#woken.delete(key);
      try {
        const unfinished = await this.#options.look(keys);
        this.#wakeAgain(unfinished);
        failures = 0;
      } catch (error) {
        failures += 1;
        this.#wakeAgain(keys);
        await this.#backOff(failures, error);
      }
    }
    this.#isRunning = false;
  }

  #wakeAgain(keys: readonly string[]): void {
    for (const key of keys) if (this.#followed.has(key)) this.#woken.add(key);
  }

  async #backOff(failures: number, cause: unknown): Promise<void> {
    const waitMs =
      Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures, 10)) * (0.5 + Math.random() / 2);
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
