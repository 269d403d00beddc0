/** How long a step waits for its hold at most. */
export const holdLimitMs = 10 * 60_000;

/** A hold was not released in time. */
export class HoldTimeoutError extends Error {
  override readonly name = 'HoldTimeoutError';
}

export interface HoldState {
  readonly name: string;
  readonly released: boolean;
  /** The threads of the requests that wait now. */
  readonly waiting: readonly string[];
}

interface Waiter {
  readonly threadKey: string;
  readonly pass: () => void;
}

/**
 * Named stops in a scenario. A release is kept: who waits goes on, and who comes later passes, so a test need not know
 * which comes first. `arm` makes the hold stop again.
 */
export class Holds {
  private readonly released = new Set<string>();
  private readonly waiters = new Map<string, Set<Waiter>>();

  /** Lets the waiting requests of a hold go on, and every later one. Returns how many waited. */
  release(name: string): number {
    this.released.add(name);
    const waiting = [...(this.waiters.get(name) ?? [])];
    for (const waiter of waiting) waiter.pass();
    return waiting.length;
  }

  isReleased(name: string): boolean {
    return this.released.has(name);
  }

  /** Makes a released hold stop again. */
  arm(name: string): void {
    this.released.delete(name);
  }

  list(): HoldState[] {
    const names = new Set([...this.released, ...this.waiters.keys()]);
    return [...names].sort().map((name) => ({
      name,
      released: this.released.has(name),
      waiting: [...(this.waiters.get(name) ?? [])].map((waiter) => waiter.threadKey),
    }));
  }

  /**
   * Waits until the hold is released.
   *
   * @throws HoldTimeoutError after `limitMs`; the reason of `signal` when it aborts.
   */
  async wait(name: string, threadKey: string, signal: AbortSignal, limitMs = holdLimitMs): Promise<void> {
    if (this.released.has(name)) return;
    signal.throwIfAborted();
    const waiting = this.waiters.get(name) ?? new Set<Waiter>();
    this.waiters.set(name, waiting);
    await new Promise<void>((resolve, reject) => {
      const settle = (finish: () => void) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        waiting.delete(waiter);
        if (waiting.size === 0) this.waiters.delete(name);
        finish();
      };
      const onAbort = () =>
        settle(() => reject(new Error('the request was aborted', { cause: signal.reason })));
      const waiter: Waiter = { threadKey, pass: () => settle(resolve) };
      const timer = setTimeout(
        () => settle(() => reject(new HoldTimeoutError(`nobody released "${name}" in ${limitMs} ms`))),
        limitMs,
      );
      signal.addEventListener('abort', onAbort, { once: true });
      waiting.add(waiter);
    });
  }
}
