import { OpenTelemetryPlugin } from '@temporalio/interceptors-opentelemetry-v2';
import type { Tracing } from '../telemetry/tracing.js';

/**
 * The OpenTelemetry v2 plugin for clients and workers. It belongs to both from the first workflow on: histories written
 * with it do not replay without it (dependencies.md 2, "Temporal tracing").
 */
export function createTracingPlugin(tracing: Tracing): OpenTelemetryPlugin {
  return new OpenTelemetryPlugin({ resource: tracing.resource, spanProcessor: tracing.spanProcessor });
}
