import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources';
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  NodeTracerProvider,
  NoopSpanProcessor,
  ParentBasedSampler,
  type SpanExporter,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-node';
import { guardedExporter, guardedProcessor, type OnTelemetryFailure } from './guarded-export.js';

const exportTimeoutMs = 5_000;

/** Tracing of one process. `resource` and `spanProcessor` are what the Temporal plugin wants. */
export interface Tracing {
  readonly resource: Resource;
  readonly spanProcessor: SpanProcessor;
  /** Sends what is buffered. Never rejects; at most `limitMs`, default the exporter's own limit. */
  shutdown(limitMs?: number): Promise<void>;
}

/**
 * Registers the process's tracer provider with W3C propagation, so that a request, its workflow and its runner share one
 * trace id (docs/adr/0018). A caller's sampling decision holds; without one everything is recorded. Spans are exported
 * only when there is an OTLP endpoint or an `exporter`. A failing exporter is told to `onFailure` and changes nothing
 * else. Call once per process.
 */
export function startTracing(options: {
  readonly serviceName: string;
  readonly otlpEndpoint?: string | undefined;
  readonly exporter?: SpanExporter;
  readonly onFailure?: OnTelemetryFailure;
}): Tracing {
  const onFailure = options.onFailure ?? (() => undefined);
  const resource = resourceFromAttributes({ 'service.name': options.serviceName });
  const exporter = options.exporter ?? otlpExporter(options.otlpEndpoint);
  const spanProcessor =
    exporter === undefined
      ? new NoopSpanProcessor()
      : guardedProcessor(new BatchSpanProcessor(guardedExporter(exporter, onFailure)), onFailure);
  const provider = new NodeTracerProvider({
    resource,
    spanProcessors: [spanProcessor],
    sampler: new ParentBasedSampler({ root: new AlwaysOnSampler() }),
  });
  provider.register({ propagator: new W3CTraceContextPropagator() });
  return {
    resource,
    spanProcessor,
    shutdown: (limitMs = exportTimeoutMs) => within(provider.shutdown(), limitMs, onFailure),
  };
}

function otlpExporter(endpoint: string | undefined): SpanExporter | undefined {
  if (endpoint === undefined) return undefined;
  return new OTLPTraceExporter({
    url: `${endpoint.replace(/\/+$/, '')}/v1/traces`,
    timeoutMillis: exportTimeoutMs,
  });
}

async function within(work: Promise<void>, limitMs: number, onFailure: OnTelemetryFailure): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, limitMs);
  });
  try {
    await Promise.race([work, late]);
  } catch (error) {
    onFailure('export', error);
  } finally {
    clearTimeout(timer);
  }
}
