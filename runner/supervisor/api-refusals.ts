import { ApiError, ConnectionError } from '../../client/index.js';
import { requestFailureKinds } from '../../contract/failure-kinds.js';

/** Words of the API for what the same request would be answered again. A 401 passes with the next heartbeat's token. */
const finalKinds: ReadonlySet<string> = new Set(
  Object.entries(requestFailureKinds)
    .filter(([kind, { retryable }]) => !retryable && kind !== 'unauthorized')
    .map(([kind]) => kind),
);

/**
 * Whether the API itself says that this runner may not write for its run any more (architecture.md 5). An answer without our envelope is none of
 * the API's: whatever stands before it may answer 404 or 403 while the API is away, and that must not restart agents. A 401 is not final either:
 * an outage may have outlived a token.
 */
export function isFencing(error: unknown): error is ApiError {
  return error instanceof ApiError && ['fenced', 'not-found', 'forbidden'].includes(error.failureKind);
}

/** Whether the API itself refused, in its own envelope, what would be refused again. Anything else is worth another try. */
export function isFinalRefusal(error: unknown): error is ApiError {
  return error instanceof ApiError && finalKinds.has(error.failureKind);
}

/** Whether what was sent is refused for good. Whatever stands before the API may have a limit of its own; any other word of it is not the API's. */
export function isUnacceptable(error: unknown): error is ApiError {
  if (!(error instanceof ApiError)) return false;
  return error.status === 413 || (isFinalRefusal(error) && [400, 422].includes(error.status));
}

/** Whether the API itself refuses the token: a fresh one is worth one try. */
export function isTokenRefusal(error: unknown): error is ApiError {
  return error instanceof ApiError && ['unauthorized', 'forbidden'].includes(error.failureKind);
}

/** No answer in time, or one that says that it would have been too late. */
export function isOverload(error: unknown): boolean {
  if (error instanceof ConnectionError) return error.reason === 'timeout';
  return error instanceof ApiError && (error.status === 503 || error.status === 504);
}

/** The class of a failure that is tried again, for its log line. */
export function failureClass(error: unknown): 'network' | 'timeout' | 'overloaded' | 'server' | 'refused' {
  if (!(error instanceof ApiError))
    return error instanceof ConnectionError && error.reason === 'timeout' ? 'timeout' : 'network';
  if (error.status === 408) return 'timeout';
  if (error.status === 429 || isOverload(error)) return 'overloaded';
  return error.status >= 500 ? 'server' : 'refused';
}
