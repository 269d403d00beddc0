export {
  type ApiClient,
  type ApiClientOptions,
  type CallInput,
  type CallOptions,
  type ClientRoute,
  createApiClient,
  RawBody,
} from './api-client.js';
export { ApiError, ConnectionError, isRetryable } from './api-errors.js';
export { backoffMs, defaultRetry, noRetry, pause, quickRetry, type RetryPolicy } from './backoff.js';
export { type ErrorLine, errorLine, errorText } from './error-text.js';
export { type QueryValue, requestUrl } from './request-url.js';
export { type ClientLog, type RetryOptions, withRetry } from './retry.js';
