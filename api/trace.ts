import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import {
  context,
  isSpanContextValid,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import type { OperationId } from '../contract/routes/index.js';
import { traceparentOf } from '../infra/telemetry/trace-context.js';

/** What is known of a request by its end, for its span, its log line and its metrics. All of it is bounded: nothing that a caller sends. */
export interface RequestFacts {
  /** Undefined: no route answers. */
  operationId?: OperationId;
  /** The route's path with its parameters' names. */
  route?: string;
  /** Name of the API token, or the kind of runner token. */
  caller?: string;
  tenantId?: string;
  failureKind?: string;
}

/** The trace of one request; its id is the `traceId` of the envelope (decisions.md, tracing). */
export interface RequestTrace {
  readonly traceId: string;
  /** W3C header value for what this request causes. */
  readonly traceparent: string;
  /** When the request began, in milliseconds since the epoch. */
  readonly startedAtMs: number;
  /** Filled in as the request is answered. */
  readonly facts: RequestFacts;
  /** Runs `work` inside the request's span, so that Temporal's headers carry it. */
  run<T>(work: () => Promise<T>): Promise<T>;
  end(status: number): void;
}

/** Continues the caller's trace or begins one. */
export function startRequestTrace(request: IncomingMessage): RequestTrace {
  const method = request.method ?? 'GET';
  const parent = propagation.extract(context.active(), request.headers);
  const span: Span = trace.getTracer('agentrun-api').startSpan(method, { kind: SpanKind.SERVER }, parent);
  const active = span.spanContext();
  const known = isSpanContextValid(active)
    ? active
    : { traceId: randomBytes(16).toString('hex'), spanId: randomBytes(8).toString('hex'), traceFlags: 1 };
  const facts: RequestFacts = {};
  return {
    traceId: known.traceId,
    traceparent: traceparentOf(known),
    startedAtMs: Date.now(),
    facts,
    run: (work) => context.with(trace.setSpan(parent, span), work),
    end: (status) => {
      if (facts.route !== undefined) span.updateName(`${method} ${facts.route}`);
      span.setAttributes({
        'http.request.method': method,
        'http.response.status_code': status,
        ...(facts.route === undefined ? {} : { 'http.route': facts.route }),
        ...(facts.operationId === undefined ? {} : { 'agentrun.operation': facts.operationId }),
        ...(facts.failureKind === undefined ? {} : { 'agentrun.failure_kind': facts.failureKind }),
      });
      // A refusal is an answer; whose fault it was, the status says. What the API itself failed at is an error.
      if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    },
  };
}
