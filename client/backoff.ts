/** How often and how slowly a request is repeated. Delays use full jitter: a random time between 0 and the step. */
export interface RetryPolicy {
  /** Attempts in all, the first included. */
  readonly attempts: number;
  /** The first step in milliseconds; it doubles up to `maxDelayMs`. */
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
}

export const noRetry: RetryPolicy = { attempts: 1, baseDelayMs: 0, maxDelayMs: 0 };
/** For a person who waits: over after two or three seconds. */
export const quickRetry: RetryPolicy = { attempts: 4, baseDelayMs: 200, maxDelayMs: 5_000 };
/** For a program that nobody watches (requirements.md A.2.e): delays up to 2, 4, 8, 16, 30, 30, 30 s. */
export const defaultRetry: RetryPolicy = { attempts: 8, baseDelayMs: 2_000, maxDelayMs: 30_000 };

/**
 * Milliseconds to wait after the failed attempt `attempt` (1 = the first). A server's Retry-After is the lower bound,
 * itself bounded by a minute so that a wrong header cannot hold a caller forever.
 */
export function backoffMs(
  policy: Pick<RetryPolicy, 'baseDelayMs' | 'maxDelayMs'>,
  attempt: number,
  retryAfterSeconds: number | undefined,
  random: () => number = Math.random,
): number {
  const step = Math.min(policy.maxDelayMs, policy.baseDelayMs * 2 ** Math.min(attempt - 1, 20));
  const jittered = Math.round(random() * step);
  if (retryAfterSeconds === undefined) return jittered;
  return Math.min(60_000, retryAfterSeconds * 1_000) + jittered;
}

/** Waits `delayMs`; ends early (without error) when `signal` fires. */
export function pause(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) return resolve();
    const finish = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, delayMs);
    signal?.addEventListener('abort', finish, { once: true });
  });
}
