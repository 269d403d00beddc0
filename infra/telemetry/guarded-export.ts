import { type ExportResult, ExportResultCode } from '@opentelemetry/core';
import type { SpanExporter, SpanProcessor } from '@opentelemetry/sdk-trace-node';

/** Where telemetry failed: sending spans, or making one. */
export type TelemetryPart = 'export' | 'span';
/** Counts what failed. It must not throw. */
export type OnTelemetryFailure = (part: TelemetryPart, error: unknown) => void;

/**
 * An exporter whose failures, thrown or answered, are counted and go no further (contract.md oddity 9): what is traced
 * has happened, whether somebody hears of it or not.
 */
export function guardedExporter(exporter: SpanExporter, onFailure: OnTelemetryFailure): SpanExporter {
  const quietly = async (work: (() => Promise<void>) | undefined): Promise<void> => {
    try {
      await work?.();
    } catch (error) {
      onFailure('export', error);
    }
  };
  return {
    export(spans, answer) {
      let answered = false;
      const once = (result: ExportResult): void => {
        if (answered) return;
        answered = true;
        if (result.code === ExportResultCode.FAILED) onFailure('export', result.error);
        // The processor does the same after both, but writes a failure to the process's own error handler.
        answer({ code: ExportResultCode.SUCCESS });
      };
      const failed = (error: unknown): void =>
        once({
          code: ExportResultCode.FAILED,
          error: error instanceof Error ? error : new Error(String(error)),
        });
      try {
        const returned: unknown = exporter.export(spans, once);
        // Its type says that it answers by the callback alone; one that is written with `async` may reject.
        if (returned instanceof Promise) returned.catch(failed);
      } catch (error) {
        failed(error);
      }
    },
    forceFlush: () => quietly(exporter.forceFlush?.bind(exporter)),
    shutdown: () => quietly(exporter.shutdown.bind(exporter)),
  };
}

/** A processor that never throws into the code whose spans it is given. */
export function guardedProcessor(processor: SpanProcessor, onFailure: OnTelemetryFailure): SpanProcessor {
  const quietly = (work: () => void): void => {
    try {
      work();
    } catch (error) {
      onFailure('span', error);
    }
  };
  return {
    onStart: (span, parent) => quietly(() => processor.onStart(span, parent)),
    onEnd: (span) => quietly(() => processor.onEnd(span)),
    forceFlush: () => processor.forceFlush(),
    shutdown: () => processor.shutdown(),
  };
}
