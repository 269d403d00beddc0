import type { z } from 'zod';
import { ApiError, ConnectionError } from './api-errors.js';
import { noRetry, quickRetry, type RetryPolicy } from './backoff.js';
import { readEnvelope } from './envelope.js';
import { type QueryValue, requestUrl } from './request-url.js';
import { type ClientLog, withRetry } from './retry.js';

export type HttpMethod = 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';

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
  /**
   * Only for requests that may be repeated: reads, and writes that carry their own identity. All attempts send the same bytes. Default: reads are
   * repeated by {@link quickRetry}, writes are sent once.
   */
  readonly retry?: RetryPolicy;
  /** For a refusal that means that it was done before, such as 409: the data to answer instead, undefined to refuse. */
  readonly alreadyDone?: (error: ApiError) => unknown;
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
    call: { method: HttpMethod; url: string; route: string; body: RawBody | undefined },
    headers: RequestOptions['headers'],
    signal: AbortSignal,
  ): Promise<z.output<Schema>> {
    const { method, url, route, body } = call;
    const authorization = `Bearer ${options.token()}`;
    let response: Response;
    let text: string;
    try {
      response = await send(url, {
        method,
        headers: {
          accept: 'application/json',
          authorization,
          ...(body === undefined ? {} : { 'content-type': body.contentType }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: body.content }),
        redirect: 'error',
        signal,
      });
      text = await response.text();
    } catch (error) {
      throw new ConnectionError('network', `${route}: no connection to the API`, {
        // What fetch says itself is always the same.
        cause: error instanceof Error && error.cause instanceof Error ? error.cause : error,
      });
    }
    return readAnswer(schema, response, text, route);
  }

  return {
    async request(schema, method, segments, request = {}) {
      const url = requestUrl(options.baseUrl, segments, request.query);
      const route = `${method} ${pathOf(url)}`;
      const call = { method, url, route, body: encodeBody(request.body) };
      const { alreadyDone } = request;
      return withRetry(
        {
          what: route,
          policy: request.retry ?? (method === 'GET' ? quickRetry : noRetry),
          timeoutMs: request.timeoutMs ?? defaultTimeoutMs,
          signal: request.signal,
          log: options.log,
          alreadyDone: (error) => {
            const data = error instanceof ApiError ? alreadyDone?.(error) : undefined;
            return data === undefined ? undefined : { value: schema.parse(data) };
          },
        },
        (signal) => attempt(schema, call, request.headers, signal),
      );
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
