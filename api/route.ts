import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import type { AuthRule, Caller } from './auth.js';
import type { RequestTrace } from './trace.js';
import { parsePart } from './validation.js';

export type Method = 'get' | 'post' | 'patch' | 'put' | 'delete';

/** What a handler is given. Everything is parsed. */
export interface RouteRequest<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly caller: Caller;
  readonly trace: RequestTrace;
  /** Aborted when the client has gone or the process is to end: long polls end. */
  readonly signal: AbortSignal;
  /** The request itself, for a route that reads its body on its own. */
  readonly raw: IncomingMessage;
  /** Only for a readiness that is not given; everything else throws. */
  readonly setStatus: (status: number) => void;
}

/** Schema of a part that a route does not look at. */
export const ignored = z.unknown();

interface RouteSpec<
  Params extends z.ZodType,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Data extends z.ZodType,
> {
  readonly method: Method;
  /** Express path, such as `/api/v1/runs/:runId`. */
  readonly path: string;
  /** One sentence for readers of the route table. */
  readonly summary: string;
  readonly auth: AuthRule;
  readonly params: Params;
  readonly query: Query;
  /** An absent body counts as `{}` (contract.md 1.5); with {@link ignored} it must still be JSON. */
  readonly body: Body;
  /** The handler reads the body from `raw`. */
  readonly streamsBody?: true;
  /** Shape of the envelope's `data`. */
  readonly data: Data;
  handle(
    request: RouteRequest<z.output<Params>, z.output<Query>, z.output<Body>>,
  ): Promise<z.output<Data>> | z.output<Data>;
}

/** What the app knows of a request before the route parses it. */
export interface RawRequest extends Omit<RouteRequest<unknown, unknown, unknown>, 'body'> {
  /** Undefined for an empty body. */
  readonly body: unknown;
}

/** A row of the route table. */
export interface Route {
  readonly method: Method;
  readonly path: string;
  readonly summary: string;
  readonly auth: AuthRule;
  readonly readsBody: 'json' | 'stream' | 'no';
  /** Shape of the envelope's `data`. */
  readonly data: z.ZodType;
  answer(request: RawRequest): Promise<unknown>;
}

/** Makes a row of the route table: the schemas give the handler its types. Complaints come in the order path, query, body. */
export function defineRoute<
  Params extends z.ZodType,
  Query extends z.ZodType,
  Body extends z.ZodType,
  Data extends z.ZodType,
>(spec: RouteSpec<Params, Query, Body, Data>): Route {
  const { method, path, summary, auth, data } = spec;
  const jsonBody = method === 'get' ? 'no' : 'json';
  return {
    method,
    path,
    summary,
    auth,
    data,
    readsBody: spec.streamsBody === true ? 'stream' : jsonBody,
    async answer(request) {
      const params = parsePart(spec.params, request.params, 'path');
      const query = parsePart(spec.query, request.query, 'query');
      const body = parsePart(spec.body, request.body ?? {}, 'body');
      return spec.handle({ ...request, params, query, body });
    },
  };
}
