import type { Failure, FailureKind } from './scenario.js';

/** A failure as the wire shows it: an HTTP error, an error inside the stream, a stream that breaks off, or no answer at all. */
export type FailurePlan =
  | {
      readonly on: 'http';
      readonly status: number;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: { readonly error: ProviderError };
    }
  | { readonly on: 'stream'; readonly error: ProviderError }
  | { readonly on: 'cut' | 'stall'; readonly afterDeltas: number }
  | { readonly on: 'connection' };

export interface ProviderError {
  readonly message: string;
  readonly type: string;
  readonly code: string | null;
}

interface ErrorRow {
  readonly status: number | 'stream';
  readonly type: string;
  readonly code: string | null;
  readonly message: string;
}

/** What OpenAI sends for each failure; the names are those of its error bodies. */
const errorRows: Readonly<
  Record<Exclude<FailureKind, 'stream_cut' | 'stream_stall' | 'connection_lost'>, ErrorRow>
> = {
  unauthorized: {
    status: 401,
    type: 'invalid_request_error',
    code: 'invalid_api_key',
    message: 'Incorrect API key provided.',
  },
  rate_limited: {
    status: 429,
    type: 'requests',
    code: 'rate_limit_exceeded',
    message: 'Rate limit reached for scripted-1 on requests per min. Please try again later.',
  },
  insufficient_quota: {
    status: 429,
    type: 'insufficient_quota',
    code: 'insufficient_quota',
    message: 'You exceeded your current quota, please check your plan and billing details.',
  },
  bad_request: {
    status: 400,
    type: 'invalid_request_error',
    code: null,
    message: 'Invalid value in the request.',
  },
  model_not_found: {
    status: 404,
    type: 'invalid_request_error',
    code: 'model_not_found',
    message: 'The model `scripted-1` does not exist or you do not have access to it.',
  },
  server_error: {
    status: 500,
    type: 'server_error',
    code: null,
    message: 'The server had an error while processing your request.',
  },
  server_overloaded: {
    status: 503,
    type: 'service_unavailable_error',
    code: 'server_is_overloaded',
    message: 'Our servers are currently overloaded. Please try again later.',
  },
  http: { status: 500, type: 'server_error', code: null, message: 'A scripted failure.' },
  context_length_exceeded: {
    status: 'stream',
    type: 'invalid_request_error',
    code: 'context_length_exceeded',
    message: 'Your input exceeds the context window of this model. Please adjust your input and try again.',
  },
  rate_limit_exceeded: {
    status: 'stream',
    type: 'tokens',
    code: 'rate_limit_exceeded',
    message: 'Rate limit reached for scripted-1 on tokens per min (TPM). Please try again in 1s.',
  },
};

/** Turns a scenario's failure into what goes over the wire. */
export function planFailure(failure: Failure): FailurePlan {
  const { kind } = failure;
  if (kind === 'stream_cut') return { on: 'cut', afterDeltas: failure.afterDeltas ?? 1 };
  if (kind === 'stream_stall') return { on: 'stall', afterDeltas: failure.afterDeltas ?? 1 };
  if (kind === 'connection_lost') return { on: 'connection' };
  const row = errorRows[kind];
  const error = { message: failure.message ?? row.message, type: row.type, code: row.code };
  if (row.status === 'stream') return { on: 'stream', error };
  return {
    on: 'http',
    status: kind === 'http' ? (failure.status ?? row.status) : row.status,
    headers: retryHeaders(failure),
    body: { error },
  };
}

function retryHeaders(failure: Failure): Record<string, string> {
  const afterS = failure.retryAfterS ?? (failure.kind === 'rate_limited' ? 1 : undefined);
  if (afterS === undefined) return {};
  return {
    'retry-after': String(afterS),
    'x-ratelimit-remaining-requests': '0',
    'x-ratelimit-reset-requests': `${afterS}s`,
  };
}
