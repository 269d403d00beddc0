import { type Context, ROOT_CONTEXT, type SpanContext, TraceFlags, trace } from '@opentelemetry/api';
import { parseTraceParent } from '@opentelemetry/core';

/** The W3C header value of a span. `sampled: false` keeps the ids and asks that nothing is recorded below it. */
export function traceparentOf(span: SpanContext, options: { readonly sampled?: false } = {}): string {
  const flags = options.sampled === false ? span.traceFlags & ~TraceFlags.SAMPLED : span.traceFlags;
  return `00-${span.traceId}-${span.spanId}-${flags.toString(16).padStart(2, '0')}`;
}

/** The context whose spans are children of `traceparent`; one that is absent or malformed begins a trace of its own. */
export function contextOf(traceparent: string | null): Context {
  const parsed = traceparent === null ? null : parseTraceParent(traceparent);
  return parsed === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, { ...parsed, isRemote: true });
}

/** The trace id of what goes on right now, if it is traced. */
export function activeTraceId(): string | undefined {
  return trace.getActiveSpan()?.spanContext().traceId;
}
