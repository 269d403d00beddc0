import type { z } from 'zod';
import { ApiError, ConnectionError, errorLine, isRetryable } from './api-errors.js';
import { backoffMs, defaultRetry, pause, type RetryPolicy } from './backoff.js';
import { readEnvelope } from './envelope.js';
import { type QueryValue, requestUrl } from './request-url.js';

export type HttpMethod = 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';

export interface ClientLog {
  warn(fields: Record<string, unknown>, message: string): void;
}

export interface ApiClientOptions {
  /** Base address of the API; a path in it is kept. */
  readonly baseUrl: string;
  /** Read before every attempt, so that a refreshed token is used at once. */
  readonly token: () => string;
  readonly fetch?: typeof globalThis.fetch;
  readonly log?: ClientLog;
}

export interface RequestOptions {
  readonly query?: Readonly<Record<string, QueryValue>>;
  /** Sent as JSON; a `RawBody` is sent as it is. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Limit of one attempt, answer included. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Only for requests that may be repeated: reads, and writes that carry their own identity. */
  readonly retry?: RetryPolicy;
}

/** A body that is not JSON, with its content type. */
export class RawBody {
  readonly contentType: string;
  readonly content: string | Uint8Array<ArrayBuffer>;

  constructor(contentType: string, content: string | Uint8Array<ArrayBuffer>) {
    this.contentType = contentType;
    this.content = content;
  }
}

export interface ApiClient {
  /**
   * Sends one request and answers the envelope's data, parsed with `schema`.
   *
   * @throws ApiError the API refused; ConnectionError no usable answer; TypeError a path segment is wrong.
   */
  request<Schema extends z.ZodType>(
    schema: Schema,
    method: HttpMethod,
    segments: readonly string[],
    options?: RequestOptions,
  ): Promise<z.output<Schema>>;
}

const defaultTimeoutMs = 15_000;

/** A client of AgentRun's API over `fetch`, for Node and browsers. */
export function createApiClient(options: ApiClientOptions): ApiClient {
  const send = options.fetch ?? globalThis.fetch;

  async function attempt<Schema extends z.ZodType>(
    schema: Schema,
    method: HttpMethod,
    url: string,
    request: RequestOptions,
  ): Promise<z.output<Schema>> {
    const timeout = AbortSignal.timeout(request.timeoutMs ?? defaultTimeoutMs);
    const signal = request.signal === undefined ? timeout : AbortSignal.any([timeout, request.signal]);
    const body = encodeBody(request.body);
    let response: Response;
    let text: string;
    try {
      response = await send(url, {
        method,
        headers: {
          accept: 'application/json',
          authorization: `Bearer ${options.token()}`,
          ...(body === undefined ? {} : { 'content-type': body.contentType }),
          ...request.headers,
        },
        ...(body === undefined ? {} : { body: body.content }),
        redirect: 'error',
        signal,
      });
      text = await response.text();
    } catch (error) {
      if (request.signal?.aborted === true) {
        throw new ConnectionError('aborted', `${method} ${pathOf(url)} was aborted`, { cause: error });
      }
      if (timeout.aborted) {
        throw new ConnectionError('timeout', `${method} ${pathOf(url)} timed out`, { cause: error });
      }
      throw new ConnectionError('network', `${method} ${pathOf(url)}: no connection to the API`, {
        cause: error instanceof Error && error.cause instanceof Error ? error.cause : error,
      });
    }
    return readAnswer(schema, response, text, `${method} ${pathOf(url)}`);
  }

  return {
    async request(schema, method, segments, request = {}) {
      const url = requestUrl(options.baseUrl, segments, request.query);
      const policy = request.retry ?? (method === 'GET' ? defaultRetry : { ...defaultRetry, attempts: 1 });
      for (let count = 1; ; count += 1) {
        try {
          return await attempt(schema, method, url, request);
        } catch (error) {
          if (!isRetryable(error) || count >= policy.attempts) throw error;
          const retryAfterSeconds = error instanceof ApiError ? error.retryAfterSeconds : undefined;
          const delayMs = backoffMs(policy, count, retryAfterSeconds);
          options.log?.warn(
            {
              attempt: count,
              attempts: policy.attempts,
              delayMs,
              route: `${method} ${pathOf(url)}`,
              ...errorLine(error),
            },
            'request failed, trying again',
          );
          await pause(delayMs, request.signal);
          if (request.signal?.aborted === true) throw error;
        }
      }
    },
  };
}

function readAnswer<Schema extends z.ZodType>(
  schema: Schema,
  response: Response,
  text: string,
  route: string,
): z.output<Schema> {
  const envelope = readEnvelope(text);
  if (envelope === undefined) {
    if (response.ok)
      throw new ConnectionError('invalid-answer', `${route}: the answer is not an AgentRun envelope`);
    throw new ApiError({
      status: response.status,
      failureKind: `http-${response.status}`,
      message: `${route}: HTTP ${response.status}`,
      retryAfterSeconds: retryAfterSeconds(response),
    });
  }
  if (!envelope.ok) {
    throw new ApiError({
      status: response.status,
      failureKind: envelope.failureKind,
      message: envelope.message,
      details: envelope.details,
      retryAfterSeconds: retryAfterSeconds(response),
    });
  }
  const data = schema.safeParse(envelope.data);
  if (data.success) return data.data;
  const paths = data.error.issues
    .slice(0, 5)
    .map((issue) => `${issue.path.join('.') || '(root)'}: ${issue.message}`);
  throw new ConnectionError(
    'invalid-answer',
    `${route}: the answer does not fit the contract (${paths.join('; ')})`,
  );
}

function encodeBody(body: unknown): RawBody | undefined {
  if (body === undefined) return undefined;
  return body instanceof RawBody ? body : new RawBody('application/json', JSON.stringify(body));
}

function retryAfterSeconds(response: Response): number | undefined {
  const header = response.headers.get('retry-after');
  if (header === null || !/^\d{1,6}$/.test(header.trim())) return undefined;
  return Number(header);
}

/** Path without query: a query may hold what a log should not. */
function pathOf(url: string): string {
  return new URL(url).pathname;
}
