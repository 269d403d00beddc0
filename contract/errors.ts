import { type RequestFailureKind, requestFailureKinds } from './failure-kinds.js';
import type { JsonObject } from './json.js';

/**
 * An error with a word of the registry. Its message is shown to callers: it never holds SQL, stack or a secret.
 * `retryAfterSeconds` becomes the Retry-After header of 429 and 503.
 */
export class AgentRunError extends Error {
  override readonly name = 'AgentRunError';
  readonly failureKind: RequestFailureKind;
  readonly details: JsonObject | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    failureKind: RequestFailureKind,
    message: string,
    options: { details?: JsonObject; retryAfterSeconds?: number; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.failureKind = failureKind;
    this.details = options.details;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  get httpStatus(): number {
    return requestFailureKinds[this.failureKind].status;
  }
}
