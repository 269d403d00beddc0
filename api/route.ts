import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import type { RouteContract } from '../contract/route-contract.js';
import type { OperationId } from '../contract/routes/index.js';
import { routes } from '../contract/routes/index.js';
import type { Caller } from './auth.js';
import type { RequestTrace } from './trace.js';
import { parsePart } from './validation.js';

/** What a handler is given. Everything is parsed. */
export interface RouteRequest<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly caller: Caller;
  readonly trace: RequestTrace;
  /** The `Idempotency-Key` header, for routes whose repeats are told by it. */
  readonly idempotencyKey: string | null;
  /** Aborted when the client has gone or the process is to end: long polls end. */
  readonly signal: AbortSignal;
  /** The request itself, for a route that reads its body on its own. */
  readonly raw: IncomingMessage;
  /** Adds a header to the answer. */
  readonly setHeader: (name: string, value: string) => void;
  /** Only for a readiness that is not given; everything else throws. */
  readonly setStatus: (status: number) => void;
}

/** What the app knows of a request before the route parses it. */
export interface RawRequest extends Omit<RouteRequest<unknown, unknown, unknown>, 'body'> {
  /** Undefined for an empty body. */
  readonly body: unknown;
}

/** A row of the route table: a contract and what answers it. */
export interface Route {
  readonly operationId: OperationId;
  readonly contract: RouteContract;
  answer(request: RawRequest): Promise<unknown>;
}

type Contracts = typeof routes;
type HandlerOf<Contract> =
  Contract extends RouteContract<infer Params, infer Query, infer Body, infer Data>
    ? (
        request: RouteRequest<z.output<Params>, z.output<Query>, z.output<Body>>,
      ) => Promise<z.output<Data>> | z.output<Data>
    : never;

/** Handlers by operation id: their types are those of the contract. */
export type Handlers = { readonly [Id in OperationId]: HandlerOf<Contracts[Id]> };

/** Makes the row of one route. Complaints come in the order path, query, body. */
export function implement<Id extends OperationId>(operationId: Id, handle: Handlers[Id]): Route;
export function implement(
  operationId: OperationId,
  handle: (request: RouteRequest<unknown, unknown, unknown>) => unknown,
): Route {
  const contract: RouteContract = routes[operationId];
  return {
    operationId,
    contract,
    async answer(request) {
      const params = parsePart(contract.params, request.params, 'path');
      const query = parsePart(contract.query, request.query, 'query');
      const body = parsePart(contract.body, request.body ?? {}, 'body');
      return handle({ ...request, params, query, body });
    },
  };
}
