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

/** Whether the same request may succeed later: network, 408, 429 and 5xx. An aborted one is not repeated. */
export function isRetryable(error: unknown): boolean {
  if (error instanceof ConnectionError) return error.reason === 'network' || error.reason === 'timeout';
  if (error instanceof ApiError) return error.status === 408 || error.status === 429 || error.status >= 500;
  return false;
}

/** Name, message and cause chain of an error in one line, without stack. */
export function errorLine(error: unknown): { type: string; message: string; cause: string | undefined } {
  if (!(error instanceof Error)) return { type: typeof error, message: String(error), cause: undefined };
  const cause = error.cause instanceof Error ? `${error.cause.name}: ${causeText(error.cause)}` : undefined;
  return { type: error.name, message: error.message, cause };
}

function causeText(cause: Error): string {
  const code = 'code' in cause ? ` (${String(cause.code)})` : '';
  return `${cause.message}${code}`;
}
