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

/** A route as a client sees it: an entry of `routes` of the contract. */
export interface ClientRoute {
  readonly method: string;
  readonly path: string;
  readonly params: z.ZodType;
  readonly query: z.ZodType;
  readonly body: z.ZodType;
  readonly data: z.ZodType;
}

/** What a call of a route needs: its path parameters, and if it has them query and body. */
export type CallInput<Route extends ClientRoute> = (keyof z.input<Route['params']> extends never
  ? { readonly params?: undefined }
  : { readonly params: Readonly<Record<keyof z.input<Route['params']> & string, string>> }) & {
  readonly query?: { readonly [Name in keyof z.input<Route['query']>]?: QueryValue };
  readonly body?: z.input<Route['body']>;
};

/** Options of a request besides what its route asks for. */
export type CallOptions = Omit<RequestOptions, 'query' | 'body'>;

export interface ApiClient {
  /**
   * Calls a route of the contract: parameters, query, body and answer have its types.
   *
   * @throws as {@link ApiClient.request}.
   */
  call<Route extends ClientRoute>(
    route: Route,
    input: CallInput<Route>,
    options?: CallOptions,
  ): Promise<z.output<Route['data']>>;

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
    call<Route extends ClientRoute>(route: Route, input: CallInput<Route>, options: CallOptions = {}) {
      const { query, body } = input;
      return this.request<Route['data']>(
        route.data,
        httpMethod(route.method),
        segmentsOf(route.path, input.params ?? {}),
        {
          ...options,
          ...(query === undefined ? {} : { query: queryValues(query) }),
          ...(body === undefined ? {} : { body }),
        },
      );
    },
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

const httpMethods: readonly HttpMethod[] = ['GET', 'POST', 'PATCH', 'PUT', 'DELETE'];

function httpMethod(method: string): HttpMethod {
  const found = httpMethods.find((candidate) => candidate === method.toUpperCase());
  if (found === undefined) throw new TypeError(`${method} is no method of the API`);
  return found;
}

/** The segments of `/api/v1/runs/:runId` with the values of its parameters. */
function segmentsOf(path: string, params: Readonly<Record<string, string>>): string[] {
  return path
    .split('/')
    .filter((segment) => segment !== '')
    .map((segment) => (segment.startsWith(':') ? (params[segment.slice(1)] ?? '') : segment));
}

function queryValues(query: object): Record<string, QueryValue> {
  const values: Record<string, QueryValue> = {};
  for (const [name, value] of Object.entries(query)) {
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
      values[name] = value;
  }
  return values;
}

/** Path without query: a query may hold what a log should not. */
function pathOf(url: string): string {
  return new URL(url).pathname;
}
