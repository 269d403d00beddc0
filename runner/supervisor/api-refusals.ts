import { ApiError } from '../../client/index.js';

/**
 * Whether the API itself says that this runner may not write for its run any more (architecture.md 5). An answer without our envelope is none of
 * the API's: whatever stands before it may answer 404 or 403 while the API is away, and that must not restart agents. A 401 is not final either:
 * an outage may have outlived a token.
 */
export function isFencing(error: unknown): error is ApiError {
  return error instanceof ApiError && ['fenced', 'not-found', 'forbidden'].includes(error.failureKind);
}
