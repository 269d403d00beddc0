export {
  type ApiClient,
  type ApiClientOptions,
  type ClientLog,
  createApiClient,
  type HttpMethod,
  RawBody,
  type RequestOptions,
} from './api-client.js';
export { ApiError, ConnectionError, errorLine, isRetryable } from './api-errors.js';
export { backoffMs, defaultRetry, noRetry, pause, type RetryPolicy } from './backoff.js';
export { type QueryValue, requestUrl } from './request-url.js';
