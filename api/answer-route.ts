import { isDeepStrictEqual } from 'node:util';
import type { Request, Response } from 'express';
import { idempotencyKeySchema } from '../contract/commands.js';
import { AgentRunError } from '../contract/errors.js';
import { failuresOf, type RouteContract } from '../contract/route-contract.js';
import { type Audit, isRunnerRoute } from './audit.js';
import { type Caller, requireAllowed } from './auth.js';
import type { ApiDeps } from './deps.js';
import { writeData } from './envelope.js';
import { toAgentRunError } from './errors.js';
import { readJsonBody } from './json-body.js';
import type { LongPollLimit } from './long-poll-limit.js';
import { operationSpans } from './operation-spans.js';
import type { CountedKind } from './rate-limit.js';
import type { EnvelopeRoute, Route } from './route.js';
import type { StreamServer } from './streams/serve-stream.js';
import type { RequestFacts, RequestTrace } from './trace.js';
import { parsePart, schemaInvalid } from './validation.js';

interface AnsweredRequest {
  readonly request: Request;
  readonly response: Response;
  readonly trace: RequestTrace;
  readonly audits: Audit;
  readonly polls: LongPollLimit;
  readonly streams: StreamServer;
}

/** One request to one route: who calls, what is asked, the answer in its envelope. */
export async function answerRoute(
  deps: ApiDeps,
  route: Route,
  { request, response, trace, audits, polls, streams }: AnsweredRequest,
): Promise<void> {
  const { contract } = route;
  const over = signalOf(response, deps.stopping);
  Object.assign(trace.facts, { operationId: route.operationId, route: contract.path });
  await traced(deps, route, trace, async () => {
    // Before the body is read (contract.md 1.2).
    const caller = await admit(deps, route, request, response);
    Object.assign(trace.facts, callerFacts(caller));
    const audit = audits.of(route, { caller, params: request.params, trace });
    try {
      if (contract.auth !== 'none') requireAllowed(caller, contract.auth);
      let status = 200;
      const asked = {
        params: request.params,
        query: queryValues(request.originalUrl, contract.answers === 'envelope'),
        body:
          contract.bodyKind === 'json' || contract.bodyKind === 'ignored'
            ? await readJsonBody(request)
            : undefined,
        caller,
        trace,
        idempotencyKey: contract.idempotency === 'key' ? idempotencyHeader(request) : null,
        signal: over,
        raw: request,
        setHeader: (name: string, value: string) => {
          response.setHeader(name, value);
        },
        setStatus: (value: number) => {
          status = value;
        },
      };
      await audit.begin(asked.body);
      if (route.answers === 'event-stream') {
        const { operationId } = route;
        await listed(deps, route, async () =>
          streams.serve({ operationId, contract, caller, request, response }, await route.answer(asked)),
        );
        return { status, query: asked.query, data: undefined };
      }
      const closed = polls.open(caller, asked);
      let data: unknown;
      try {
        data = await listed(deps, route, () => route.answer(asked));
        if (deps.checkAnswers === true) checkData(route, data);
      } finally {
        closed();
      }
      writeData(response, status, data, trace.traceId);
      audit.succeeded(status, data);
      return { status, query: asked.query, data };
    } catch (error) {
      audit.failed(error);
      throw error;
    }
  });
}

/**
 * Aborted when the client has gone, or the process is to end. By hand: what `AbortSignal.any` makes of a signal that lives as long as the process is kept as
 * long (Node 20).
 */
function signalOf(response: Response, stopping: AbortSignal): AbortSignal {
  const over = new AbortController();
  const stop = () => over.abort();
  if (stopping.aborted || response.destroyed) {
    stop();
    return over.signal;
  }
  stopping.addEventListener('abort', stop, { once: true });
  response.once('close', () => {
    stopping.removeEventListener('abort', stop);
    // Not of every answer that went out whole: an abort makes an error with its stack.
    if (!response.writableFinished) over.abort();
  });
  return over.signal;
}

/** What of a caller stands in the log: the name of a token, never the token. */
function callerFacts(caller: Caller): Pick<RequestFacts, 'caller' | 'tenantId'> {
  if (caller.kind !== 'api') return { caller: caller.kind };
  return { caller: caller.name, ...(caller.tenantId === undefined ? {} : { tenantId: caller.tenantId }) };
}

/**
 * Who calls, counted against the limit of requests.
 *
 * @throws AgentRunError `unauthorized`, `rate-limited`, and as `Authenticator.identify`.
 */
async function admit(
  deps: ApiDeps,
  { contract }: Route,
  request: Request,
  response: Response,
): Promise<Caller> {
  if (contract.auth === 'none') return { kind: 'nobody' };
  const caller = await deps.authenticator.identify(request, request.ip ?? '');
  await deps.rateLimits.count(caller, countedKind(contract), request, response);
  return caller;
}

function countedKind(contract: RouteContract): CountedKind {
  if (contract.countedApart) return 'live-text';
  return isRunnerRoute(contract) ? 'runner' : 'api';
}

/** Answers inside the request's span, and tells the spans that the contract names for this operation. */
async function traced(
  deps: ApiDeps,
  { operationId, contract }: Route,
  trace: RequestTrace,
  answer: () => Promise<{ status: number; query: unknown; data: unknown }>,
): Promise<void> {
  const request = {
    method: contract.method.toUpperCase(),
    route: contract.path,
    startedAtMs: trace.startedAtMs,
  };
  await trace.run(async () => {
    try {
      const { status, query, data } = await answer();
      deps.spans.emit({ ...request, status }, () =>
        operationSpans(operationId, { kind: 'answered', query, data }),
      );
    } catch (thrown) {
      const { failureKind, httpStatus, message } = toAgentRunError(thrown);
      deps.spans.emit({ ...request, status: httpStatus }, () =>
        operationSpans(operationId, { kind: 'failed', failureKind, message }),
      );
      throw thrown;
    }
  });
}

/** In tests: a failure that the route does not list is a defect. */
async function listed<Answer>(deps: ApiDeps, route: Route, answer: () => Promise<Answer>): Promise<Answer> {
  try {
    return await answer();
  } catch (error) {
    const { failureKind } = toAgentRunError(error);
    if (deps.checkAnswers !== true || failuresOf(route.contract).has(failureKind)) throw error;
    throw new Error(`${route.operationId} answers ${failureKind}, which its contract does not list`, {
      cause: error,
    });
  }
}

/** In tests: an answer that does not fit its schema is a defect. */
function checkData(route: EnvelopeRoute, data: unknown): void {
  // What goes over the wire: without fields that are undefined.
  const sent: unknown = JSON.parse(JSON.stringify(data));
  if (!isDeepStrictEqual(JSON.parse(JSON.stringify(route.contract.data.parse(sent))), sent)) {
    throw new Error(`${route.operationId} answers fields that its contract does not list`);
  }
}

/** @throws AgentRunError `schema-invalid` for a key that is blank or too long. */
function idempotencyHeader(request: Request): string | null {
  const [key, ...others] = request.headersDistinct['idempotency-key'] ?? [];
  if (key === undefined) return null;
  if (others.length > 0) throw new AgentRunError('schema-invalid', 'Idempotency-Key: expected one header');
  return parsePart(idempotencyKeySchema, key, 'Idempotency-Key');
}

/**
 * Of a parameter that is given twice the first counts (contract.md 0.4), where it may be: of two cursors nobody knows which one is meant.
 *
 * @throws AgentRunError `schema-invalid`.
 */
function queryValues(target: string, mayRepeat: boolean): Record<string, string> {
  const start = target.indexOf('?');
  const values = new Map<string, string>();
  const repeated = new Set<string>();
  if (start !== -1) {
    for (const [name, value] of new URLSearchParams(target.slice(start + 1))) {
      if (values.has(name)) repeated.add(name);
      else values.set(name, value);
    }
  }
  if (repeated.size > 0 && !mayRepeat) {
    const path = (name: string) => `query.${name.slice(0, 100)}`;
    const wrong = { sentence: 'expected one value', received: 'more than one' };
    throw schemaInvalid([...repeated].map((name) => ({ path: path(name), ...wrong })));
  }
  return Object.fromEntries(values);
}
