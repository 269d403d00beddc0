import { ApiError } from '../../client/index.js';
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
