/** The API answered with a failure envelope, or with something that is no envelope (`failureKind` is then `http-<status>`). */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  /** Word of the registry in the contract, such as `fenced` or `schema-invalid`. */
  readonly failureKind: string;
  readonly details: Readonly<Record<string, unknown>> | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(answer: {
    status: number;
    failureKind: string;
    message: string;
    details?: Readonly<Record<string, unknown>> | undefined;
    retryAfterSeconds?: number | undefined;
  }) {
    super(answer.message);
    this.status = answer.status;
    this.failureKind = answer.failureKind;
    this.details = answer.details;
    this.retryAfterSeconds = answer.retryAfterSeconds;
  }
}

/** No usable answer came: refused, reset, timed out, or an answer of another shape than the contract's. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
  /** `timeout`, `aborted` (by the caller's signal), `invalid-answer` or `network`. */
  readonly reason: 'timeout' | 'aborted' | 'invalid-answer' | 'network';

  constructor(reason: ConnectionError['reason'], message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.reason = reason;
  }
}

/** The server reported, in the stream, that it cannot go on with it. */
export class StreamError extends Error {
  override readonly name = 'StreamError';
  readonly failureKind: string;

  constructor(failureKind: string, message: string) {
    super(message);
    this.failureKind = failureKind;
  }
}

/** A stream was connected anew as often as its budget allows; `cause` is what went wrong last. */
export class StreamExhausted extends Error {
  override readonly name = 'StreamExhausted';
}

const connectionCodes: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_SOCKET',
]);
const passingStatuses: ReadonlySet<number> = new Set([408, 425, 429]);

/**
 * Whether the same request may succeed later, by status or code and never by text: connection errors, timeouts, 408, 425, 429 and 5xx. An aborted
 * one is not repeated.
 */
export function isRetryable(error: unknown): boolean {
  if (error instanceof ConnectionError) return error.reason === 'network' || error.reason === 'timeout';
  if (error instanceof ApiError) return passingStatuses.has(error.status) || error.status >= 500;
  return isConnectionFailure(error, 3);
}

/** undici hides the reason in `cause`, a connect to several addresses in `errors`. */
function isConnectionFailure(error: unknown, depth: number): boolean {
  if (!(error instanceof Error) || depth === 0) return false;
  if ('code' in error && connectionCodes.has(error.code)) return true;
  if (error.name === 'TimeoutError') return true;
  if (error instanceof AggregateError)
    return error.errors.some((inner) => isConnectionFailure(inner, depth - 1));
  return isConnectionFailure(error.cause, depth - 1);
}
