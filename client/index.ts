export {
  type ApiClient,
  type ApiClientOptions,
  type CallInput,
  type CallOptions,
  type ClientRoute,
  createApiClient,
  RawBody,
  type StreamInput,
  type StreamRoute,
} from './api-client.js';
export { ApiError, ConnectionError, isRetryable, StreamError, StreamExhausted } from './api-errors.js';
export { backoffMs, defaultRetry, noRetry, pause, quickRetry, type RetryPolicy } from './backoff.js';
export { type ErrorLine, errorLine, errorText } from './error-text.js';
export { type QueryValue, requestUrl } from './request-url.js';
export { type ClientLog, type RetryOptions, withRetry } from './retry.js';
export type {
  DeliveredFrame,
  StreamFrame,
  StreamOptions,
  StreamPlace,
  StreamState,
} from './stream/open-stream.js';
export {
  type StreamSubscriber,
  type StreamWatcher,
  type WatchOptions,
  watchStream,
} from './stream/stream-watcher.js';
export type { StreamEnd, WatchState } from './stream/watch-state.js';
export type { WatchedFrame } from './stream/watched-frames.js';
