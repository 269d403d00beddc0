import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import type { AnswerKind, RouteContract } from '../contract/route-contract.js';
import type { OperationId } from '../contract/routes/index.js';
import { routes } from '../contract/routes/index.js';
import type { Caller } from './auth.js';
import type { StreamAnswer } from './streams/stream-source.js';
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

interface RouteOf<Answers extends AnswerKind, Answer> {
  readonly answers: Answers;
  readonly operationId: OperationId;
  readonly contract: RouteContract;
  answer(request: RawRequest): Promise<Answer>;
}
export type EnvelopeRoute = RouteOf<'envelope', unknown>;
export type StreamRoute = RouteOf<'event-stream', StreamAnswer>;
/** A row of the route table: a contract and what answers it. */
export type Route = EnvelopeRoute | StreamRoute;

type Contracts = typeof routes;
type IdsOf<Answers extends AnswerKind> = {
  [Id in OperationId]: Contracts[Id]['answers'] extends Answers ? Id : never;
}[OperationId];
type RequestOf<Contract> =
  Contract extends RouteContract<infer Params, infer Query, infer Body>
    ? RouteRequest<z.output<Params>, z.output<Query>, z.output<Body>>
    : never;
type DataOf<Contract extends RouteContract> = z.output<Contract['data']>;

/** Handlers by operation id: their types are those of the contract. */
export type Handlers = {
  readonly [Id in IdsOf<'envelope'>]: (
    request: RequestOf<Contracts[Id]>,
  ) => Promise<DataOf<Contracts[Id]>> | DataOf<Contracts[Id]>;
};

/** Makes the row of one route. Complaints come in the order path, query, body. */
export function implement<Id extends IdsOf<'envelope'>>(operationId: Id, handle: Handlers[Id]): EnvelopeRoute;
export function implement(
  operationId: OperationId,
  handle: (request: RouteRequest<unknown, unknown, unknown>) => unknown,
): EnvelopeRoute {
  const contract: RouteContract = routes[operationId];
  return {
    answers: 'envelope',
    operationId,
    contract,
    answer: async (request) => handle(parsed(contract, request)),
  };
}

/** As {@link implement}, for a route that answers a stream. */
export function implementStream<Id extends IdsOf<'event-stream'>>(
  operationId: Id,
  handle: (request: RequestOf<Contracts[Id]>) => Promise<StreamAnswer>,
): StreamRoute;
export function implementStream(
  operationId: OperationId,
  handle: (request: RouteRequest<unknown, unknown, unknown>) => Promise<StreamAnswer>,
): StreamRoute {
  const contract: RouteContract = routes[operationId];
  return {
    answers: 'event-stream',
    operationId,
    contract,
    answer: async (request) => handle(parsed(contract, request)),
  };
}

function parsed(contract: RouteContract, request: RawRequest): RouteRequest<unknown, unknown, unknown> {
  const params = parsePart(contract.params, request.params, 'path');
  const query = parsePart(contract.query, request.query, 'query');
  const body = parsePart(contract.body, request.body ?? {}, 'body');
  return { ...request, params, query, body };
}
