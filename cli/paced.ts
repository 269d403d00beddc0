import { pause } from '../client/index.js';

const mostTogether = 500;

/**
 * Gathers what comes quickly: the first item at once, with whatever is there already, then not more often than every `everyMs` milliseconds. A failure
 * comes after what came before it. Whoever leaves it ends `source` himself.
 */
export async function* paced<T>(
  source: AsyncGenerator<T, void, undefined>,
  everyMs: number,
): AsyncGenerator<readonly T[], void, undefined> {
  let next = source.next();
  for (let yieldedAt = Number.NEGATIVE_INFINITY; ; ) {
    const first = await next;
    if (first.done === true) return;
    const group = [first.value];
    next = source.next();
    while (everyMs > 0 && group.length < mostTogether) {
      const arrived = await within(
        next.catch(() => 'late' as const),
        Math.max(0, yieldedAt + everyMs - performance.now()),
      );
      if (arrived === 'late' || arrived.done === true) break;
      group.push(arrived.value);
      next = source.next();
    }
    yieldedAt = performance.now();
    yield group;
  }
}

/** What arrives in time. */
export async function within<T>(
  arriving: Promise<T>,
  limitMs: number,
  signal?: AbortSignal,
): Promise<T | 'late'> {
  const arrived = new AbortController();
  const ended = signal === undefined ? arrived.signal : AbortSignal.any([signal, arrived.signal]);
  try {
    return await Promise.race([arriving, pause(limitMs, ended).then(() => 'late' as const)]);
  } finally {
    arrived.abort();
  }
}
