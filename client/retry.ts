import { ApiError, ConnectionError, isRetryable } from './api-errors.js';
import { backoffMs, defaultRetry, pause, type RetryPolicy } from './backoff.js';
import { errorLine, errorText } from './error-text.js';

export interface ClientLog {
  warn(fields: Record<string, unknown>, message: string): void;
}

export interface RetryOptions<T> {
  /** Names the work in log lines and timeouts, such as `POST /api/v1/…`. Holds no secret. */
  readonly what: string;
  /** Default: 8 attempts, delays from 2 s doubling up to 30 s, with jitter. */
  readonly policy?: RetryPolicy;
  /** Limit of one attempt; default 30 s. It holds even for work that ignores its signal. */
  readonly timeoutMs?: number;
  /** Ends the work and its waits. */
  readonly signal?: AbortSignal | undefined;
  readonly log?: ClientLog | undefined;
  /** For a refusal that means success, such as 409 "already accepted": the answer instead. */
  readonly alreadyDone?: ((error: unknown) => { readonly value: T } | undefined) | undefined;
  /** For tests: the jitter, and the waits. */
  readonly random?: () => number;
  readonly wait?: (delayMs: number, signal?: AbortSignal) => Promise<void>;
}

const defaultTimeoutMs = 30_000;
/** A token may be rotated between reading and using it: the second try reads it again. */
const mostUnauthorized = 2;

/**
 * Does `attempt` again until it succeeds, within a budget: the one retry helper outside Temporal. What is repeated is decided by status and code
 * ({@link isRetryable}); 401 once more, because attempts read their token anew. The work must be safe to repeat: whatever makes it so (an idempotency
 * key, a sequence) is made before and is the same on every attempt. Each failure that is waited for is a log line with its cause, and so is the end.
 *
 * @throws the last attempt's error, unchanged; ConnectionError for a timeout or an abort.
 */
export async function withRetry<T>(
  options: RetryOptions<T>,
  attempt: (signal: AbortSignal, number: number) => Promise<T>,
): Promise<T> {
  const policy = options.policy ?? defaultRetry;
  let unauthorized = 0;
  for (let number = 1; ; number += 1) {
    try {
      return await bounded(options, (signal) => attempt(signal, number));
    } catch (error) {
      const done = options.alreadyDone?.(error);
      if (done !== undefined) return done.value;
      if (isUnauthorized(error)) unauthorized += 1;
      const mayRepeat = isRetryable(error) || (isUnauthorized(error) && unauthorized < mostUnauthorized);
      if (!mayRepeat || number >= policy.attempts || isAborted(options)) {
        if (number > 1) logEnd(options, number, error);
        throw error;
      }
      const retryAfterSeconds = error instanceof ApiError ? error.retryAfterSeconds : undefined;
      const delayMs = backoffMs(policy, number, retryAfterSeconds, options.random);
      const count = `attempt ${number}/${policy.attempts}`;
      options.log?.warn(
        { attempt: number, attempts: policy.attempts, delayMs, route: options.what, ...errorLine(error) },
        `${options.what}: ${count} failed: ${errorText(error)}; trying again in ${delayMs} ms`,
      );
      await (options.wait ?? pause)(delayMs, options.signal);
      if (isAborted(options)) throw error;
    }
  }
}

const isAborted = ({ signal }: Pick<RetryOptions<never>, 'signal'>) => signal?.aborted === true;
const isUnauthorized = (error: unknown) => error instanceof ApiError && error.status === 401;

function logEnd(options: Pick<RetryOptions<never>, 'what' | 'log'>, attempts: number, error: unknown): void {
  options.log?.warn(
    { attempts, route: options.what, ...errorLine(error) },
    `${options.what}: gave up after ${attempts} attempts: ${errorText(error)}`,
  );
}

/** One attempt within its limit. What ends it early is named: the limit in milliseconds, or the caller. */
async function bounded<T>(
  options: Pick<RetryOptions<T>, 'what' | 'timeoutMs' | 'signal'>,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { what, timeoutMs = defaultTimeoutMs, signal: caller } = options;
  const stop = new AbortController();
  let endWait: (error: ConnectionError) => void = () => undefined;
  const ended = new Promise<never>((_resolve, reject) => {
    endWait = reject;
  });
  let reason: ConnectionError | undefined;
  const end = (error: ConnectionError): void => {
    reason ??= error;
    stop.abort();
    endWait(reason);
  };
  const timer = setTimeout(
    () => end(new ConnectionError('timeout', `${what} timed out after ${timeoutMs} ms`)),
    timeoutMs,
  );
  const onAbort = (): void => end(new ConnectionError('aborted', `${what} was aborted`));
  caller?.addEventListener('abort', onAbort, { once: true });
  try {
    if (caller?.aborted === true) onAbort();
    return await Promise.race([ended, work(stop.signal)]);
  } catch (error) {
    throw reason ?? error;
  } finally {
    clearTimeout(timer);
    caller?.removeEventListener('abort', onAbort);
    ended.catch(() => undefined);
  }
}
