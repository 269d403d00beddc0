import type { Channel } from '../store/notifier.js';
import type { ApiDeps } from './deps.js';

/** While wake-ups arrive, a look this often heals one that was lost; while they do not, it is the only way to hear. */
const pollMs = { listening: 5_000, deaf: 500 } as const;

/**
 * Looks, and looks again at each wake-up of `key` until `isDone`, the time is over, or `signal` ends it. Always answers the last look.
 */
export async function longPoll<T>(
  { listener, metrics }: Pick<ApiDeps, 'listener' | 'metrics'>,
  options: {
    readonly channel: Channel;
    readonly key: string;
    readonly waitMs: number;
    readonly signal: AbortSignal;
    /** A look at least this often, in milliseconds. */
    readonly atLeastEveryMs?: number;
    look(): Promise<T>;
    isDone(found: T): boolean;
  },
): Promise<T> {
  if (options.waitMs === 0) return options.look();
  const deadline = performance.now() + options.waitMs;
  // Armed before the first look: what happens in between is not missed.
  const waiter = listener.arm(options.channel, options.key);
  const closed = metrics.longPollOpened();
  try {
    for (;;) {
      const found = await options.look();
      const leftMs = deadline - performance.now();
      if (options.isDone(found) || leftMs <= 0 || options.signal.aborted) return found;
      const safetyMs = Math.min(
        listener.connected ? pollMs.listening : pollMs.deaf,
        options.atLeastEveryMs ?? Infinity,
      );
      await waiter.wait(Math.min(leftMs, safetyMs), options.signal);
    }
  } finally {
    waiter.close();
    closed();
  }
}
