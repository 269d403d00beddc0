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

/** The trace of one request; its id is the `traceId` of the envelope (decisions.md, tracing). */
export interface RequestTrace {
  readonly traceId: string;
  /** W3C header value for what this request causes. */
  readonly traceparent: string;
  /** Runs `work` inside the request's span, so that Temporal's headers carry it. */
  run<T>(work: () => Promise<T>): Promise<T>;
  end(status: number): void;
}

/** Continues the caller's trace or begins one. */
export function startRequestTrace(request: IncomingMessage): RequestTrace {
  const parent = propagation.extract(context.active(), request.headers);
  const span: Span = trace
    .getTracer('agentrun-api')
    .startSpan(`${request.method ?? 'GET'}`, { kind: SpanKind.SERVER }, parent);
  const spanContext = span.spanContext();
  const known = isSpanContextValid(spanContext);
  const traceId = known ? spanContext.traceId : randomBytes(16).toString('hex');
  const spanId = known ? spanContext.spanId : randomBytes(8).toString('hex');
  const flags = (known ? spanContext.traceFlags : 1).toString(16).padStart(2, '0');
  return {
    traceId,
    traceparent: `00-${traceId}-${spanId}-${flags}`,
    run: (work) => context.with(trace.setSpan(parent, span), work),
    end: (status) => {
      span.setAttribute('http.response.status_code', status);
      if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    },
  };
}

/** Names the request's span once its route is known. */
export function nameSpan(name: string): void {
  trace.getActiveSpan()?.updateName(name);
}
