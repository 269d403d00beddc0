import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import { type Resource, resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  NodeTracerProvider,
  NoopSpanProcessor,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-node';

/** Tracing of one process. `resource` and `spanProcessor` are what the Temporal plugin wants. */
export interface Tracing {
  readonly resource: Resource;
  readonly spanProcessor: SpanProcessor;
  /** Sends what is buffered; bounded by the exporter's own timeout. */
  shutdown(): Promise<void>;
}

/**
 * Registers the process's tracer provider with W3C propagation, so that a request, its workflow and its runner share one
 * trace id (decisions.md, tracing). Spans are exported only when an OTLP endpoint is given. Call once per process.
 */
export function startTracing(options: { serviceName: string; otlpEndpoint?: string | undefined }): Tracing {
  const resource = resourceFromAttributes({ 'service.name': options.serviceName });
  const spanProcessor =
    options.otlpEndpoint === undefined
      ? new NoopSpanProcessor()
      : new BatchSpanProcessor(
          new OTLPTraceExporter({
            url: `${options.otlpEndpoint.replace(/\/+$/, '')}/v1/traces`,
            timeoutMillis: 5_000,
          }),
        );
  const provider = new NodeTracerProvider({ resource, spanProcessors: [spanProcessor] });
  provider.register({ propagator: new W3CTraceContextPropagator() });
  return { resource, spanProcessor, shutdown: () => provider.shutdown() };
}
