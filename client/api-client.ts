import type { z } from 'zod';
import { ApiError } from './api-errors.js';
import { noRetry, quickRetry, type RetryPolicy } from './backoff.js';
import { fitting, noConnection, readAnswer } from './read-answer.js';
import { type QueryValue, requestUrl } from './request-url.js';
import { type ClientLog, withRetry } from './retry.js';
import {
  type DeliveredFrame,
  openStream,
  type StreamFrame,
  type StreamOptions,
  type StreamPlace,
} from './stream/open-stream.js';

export interface ApiClientOptions {
  /** Base address of the API; a path in it is kept. */
  readonly baseUrl: string;
  /** Read before every attempt, so that a refreshed token is used at once. */
  readonly token: () => string;
  readonly fetch?: typeof globalThis.fetch;
  readonly log?: ClientLog;
  /** Told of each answer that is no success, repeated or not. The path has no query, which may hold what a log should not. */
  readonly onRefused?: (refused: RefusedRequest) => void;
}

/** An answer that is no success. */
export interface RefusedRequest {
  readonly method: string;
  readonly path: string;
  readonly status: number;
  /** 1 for the first. */
  readonly attempt: number;
}

/** How a call is sent. */
export interface CallOptions {
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

/** A body that is sent as it is, with its content type. */
export class RawBody {
  readonly contentType: string;
  readonly content: string | Uint8Array<ArrayBuffer>;

  constructor(contentType: string, content: string | Uint8Array<ArrayBuffer>) {
    this.contentType = contentType;
    this.content = content;
  }

  /** JSON whose fields come from outside of the program, such as the words of a command line: whether they are right is for the API to say. */
  static json(value: unknown): RawBody {
    return new RawBody('application/json', JSON.stringify(value));
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

/** Names of fields. What zod takes for an object without any is one without values, under names of any kind. */
type Fields<Schema extends z.ZodType> =
  z.input<Schema> extends Readonly<Record<string, never>> ? never : keyof z.input<Schema> & string;

/** A route whose answer is a stream of frames. */
export interface StreamRoute extends ClientRoute {
  readonly data: z.ZodType<StreamFrame>;
}

type ParamsInput<Route extends ClientRoute> = [Fields<Route['params']>] extends [never]
  ? { readonly params?: undefined }
  : { readonly params: Readonly<Record<Fields<Route['params']>, string>> };

/** What a stream needs: its path parameters, and where to begin. */
export type StreamInput<Route extends StreamRoute> = ParamsInput<Route> & StreamPlace;

/** What a call of a route needs: its path parameters, its query, and its body, which may be left out where the route takes an empty one. */
export type CallInput<Route extends ClientRoute> = ParamsInput<Route> &
  ([Fields<Route['query']>] extends [never]
    ? { readonly query?: undefined }
    : { readonly query?: { readonly [Name in Fields<Route['query']>]?: QueryValue } }) &
  (Record<never, never> extends z.input<Route['body']>
    ? { readonly body?: z.input<Route['body']> | RawBody }
    : { readonly body: z.input<Route['body']> | RawBody });

/** The same of any route. */
interface AnyInput {
  readonly params?: Readonly<Record<string, string>> | undefined;
  readonly query?: Readonly<Record<string, QueryValue>> | undefined;
  readonly body?: unknown;
}

export interface ApiClient {
  /**
   * Calls a route of the contract and answers the data of its envelope: parameters, query, body and answer have the types of the route, and an answer
   * that does not fit them is an error.
   *
   * @throws ApiError the API refused; ConnectionError no usable answer; TypeError a path parameter is empty, `.` or `..`.
   */
  call<Route extends ClientRoute>(
    route: Route,
    input: CallInput<Route>,
    options?: CallOptions,
  ): Promise<z.output<Route['data']>>;

  /**
   * Reads a stream of the contract until its end: frames `event`, `delta`, `caught-up` (once per connection), `gap` and at last `stream-end`. What breaks is
   * connected anew from the last event on, so that each event comes once. Nothing is sent before the first frame is asked for. Leaving the loop closes it;
   * a loop that waits is ended by `how.signal`, without an error.
   *
   * @throws StreamExhausted the budget of `how` is used up; ApiError a refusal that stays, such as 404, or 401 with a token that was read anew;
   * ConnectionError `invalid-answer`; TypeError a path parameter or cursor that cannot be sent.
   */
  stream<Route extends StreamRoute>(
    route: Route,
    input: StreamInput<Route>,
    how?: StreamOptions,
  ): AsyncGenerator<DeliveredFrame<z.output<Route['data']>>, void, undefined>;
}

const defaultTimeoutMs = 15_000;

/** A client of AgentRun's API over `fetch`, for Node and browsers. */
export function createApiClient(options: ApiClientOptions): ApiClient {
  const send = options.fetch ?? globalThis.fetch;

  async function attempt<Schema extends z.ZodType>(
    schema: Schema,
    call: { method: string; url: string; route: string; body: RawBody | undefined },
    headers: CallOptions['headers'],
    signal: AbortSignal,
    number: number,
  ): Promise<z.output<Schema>> {
    const { method, url, route, body } = call;
    const authorization = bearer(options.token());
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
      throw noConnection(route, error);
    }
    const { status } = response;
    if (!response.ok) options.onRefused?.({ method, path: pathOf(url), status, attempt: number });
    return readAnswer(schema, { response, text, route });
  }

  return {
    async call<Route extends ClientRoute>(route: Route, input: CallInput<Route>, how: CallOptions = {}) {
      const { params = {}, query, body }: AnyInput = input;
      const schema: Route['data'] = route.data;
      const method = route.method.toUpperCase();
      const url = requestUrl(options.baseUrl, segmentsOf(route.path, params), query);
      const what = `${method} ${pathOf(url)}`;
      const call = { method, url, route: what, body: encodeBody(body) };
      const { alreadyDone } = how;
      return withRetry<z.output<Route['data']>>(
        {
          what,
          policy: how.retry ?? (method === 'GET' ? quickRetry : noRetry),
          timeoutMs: how.timeoutMs ?? defaultTimeoutMs,
          signal: how.signal,
          log: options.log,
          alreadyDone: (error) => {
            const data = error instanceof ApiError ? alreadyDone?.(error) : undefined;
            return data === undefined ? undefined : { value: schema.parse(data) };
          },
        },
        (signal, number) => attempt(schema, call, how.headers, signal, number),
      );
    },

    stream<Route extends StreamRoute>(
      contract: Route,
      input: StreamInput<Route>,
      how: StreamOptions = {},
    ): AsyncGenerator<DeliveredFrame<z.output<Route['data']>>, void, undefined> {
      const { params = {}, ...place }: AnyInput & StreamPlace = input;
      const schema: Route['data'] = contract.data;
      const segments = segmentsOf(contract.path, params);
      const path = pathOf(requestUrl(options.baseUrl, segments));
      const route = `GET ${path}`;
      return openStream<z.output<Route['data']>>(
        {
          route,
          request: ({ after, start }) => ({
            route,
            url: requestUrl(options.baseUrl, segments, { start }),
            headers: {
              accept: 'text/event-stream',
              // Not used again afterwards: a stream that is told to go elsewhere would come back to where it was. Browsers leave this header out.
              connection: 'close',
              authorization: bearer(options.token()),
              ...(after === undefined ? {} : { 'last-event-id': after }),
            },
            fetch: send,
          }),
          parse: (frame) => fitting(schema, frame, `${route}: a frame`),
          log: options.log,
          onRefused: (status, attempt) => options.onRefused?.({ method: 'GET', path, status, attempt }),
        },
        place,
        how,
      );
    },
  };
}

/** fetch would quote a token that no header can carry. */
function bearer(token: string): string {
  if (/[^\x21-\x7e]/.test(token.trim()))
    throw new TypeError('the token has characters that no header can carry');
  return `Bearer ${token}`;
}

function encodeBody(body: unknown): RawBody | undefined {
  if (body === undefined) return undefined;
  return body instanceof RawBody ? body : RawBody.json(body);
}

/** The segments of `/api/v1/runs/:runId` with the values of its parameters. */
function segmentsOf(path: string, params: Readonly<Record<string, string>>): string[] {
  return path
    .split('/')
    .filter((segment) => segment !== '')
    .map((segment) => (segment.startsWith(':') ? (params[segment.slice(1)] ?? '') : segment));
}

/** Path without query: a query may hold what a log should not. */
function pathOf(url: string): string {
  return new URL(url).pathname;
}
