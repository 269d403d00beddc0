import { trace } from '@opentelemetry/api';
import { type ExportResult, ExportResultCode } from '@opentelemetry/core';
import { NodeTracerProvider, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace-node';
import { afterEach, describe, expect, test } from 'vitest';
import { guardedExporter, guardedProcessor } from '../../../infra/telemetry/guarded-export.js';
import { contextOf, traceparentOf } from '../../../infra/telemetry/trace-context.js';
import { startTracing } from '../../../infra/telemetry/tracing.js';

type Answer = (result: ExportResult) => void;
/** `send` may be asynchronous, which its type in the library hides. */
const exporter = (send: (spans: ReadableSpan[], answer: Answer) => unknown): SpanExporter => ({
  export: send,
  shutdown: () => Promise.resolve(),
});

afterEach(() => {
  trace.disable();
});

describe('an exporter that fails is counted and changes nothing', () => {
  test.each<[string, SpanExporter]>([
    [
      'throws at once',
      exporter(() => {
        throw new Error('no');
      }),
    ],
    ['rejects', exporter(async () => Promise.reject(new Error('no')))],
    ['answers a failure', exporter((_spans, answer) => answer({ code: ExportResultCode.FAILED }))],
    [
      'answers, and throws after it',
      exporter((_spans, answer) => {
        answer({ code: ExportResultCode.FAILED });
        throw new Error('no');
      }),
    ],
  ])('%s', async (_how, failing) => {
    const failures: string[] = [];
    const unhandled: unknown[] = [];
    const note = (error: unknown) => unhandled.push(error);
    process.on('unhandledRejection', note);
    try {
      const tracing = startTracing({
        serviceName: 'test',
        exporter: failing,
        onFailure: (part) => failures.push(part),
      });
      const value = trace.getTracer('test').startActiveSpan('work', (span) => {
        span.end();
        return 7;
      });
      await tracing.shutdown();
      await new Promise((resolve) => setImmediate(resolve));
      expect(value).toBe(7);
      expect(failures).toEqual(['export']);
      expect(unhandled).toEqual([]);
    } finally {
      process.off('unhandledRejection', note);
    }
  });

  test('one that never answers holds the end for no longer than its limit', async () => {
    const tracing = startTracing({ serviceName: 'test', exporter: exporter(() => undefined) });
    trace.getTracer('test').startSpan('work').end();
    const startedMs = performance.now();
    await tracing.shutdown(100);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });

  test('a processor that throws', () => {
    const failures: string[] = [];
    const throwing = () => {
      throw new Error('no');
    };
    const idle = () => Promise.resolve();
    const processor = guardedProcessor(
      { onStart: throwing, onEnd: throwing, forceFlush: idle, shutdown: idle },
      (part) => failures.push(part),
    );
    const provider = new NodeTracerProvider({ spanProcessors: [processor] });
    provider.getTracer('test').startSpan('work').end();
    expect(failures).toEqual(['span', 'span']);
  });

  test('a shutdown that rejects', async () => {
    const failures: string[] = [];
    const guarded = guardedExporter(
      { export: () => undefined, shutdown: () => Promise.reject(new Error('no')) },
      (part) => failures.push(part),
    );
    await guarded.shutdown();
    expect(failures).toEqual(['export']);
  });
});

describe('the sampling decision of the caller holds', () => {
  test.each([
    ['01', 1],
    ['00', 0],
  ])('flags %s', async (flags, exported) => {
    const seen: string[] = [];
    const tracing = startTracing({
      serviceName: 'test',
      exporter: exporter((spans, answer) => {
        seen.push(...spans.map((span) => span.name));
        answer({ code: ExportResultCode.SUCCESS });
      }),
    });
    const parent = contextOf(`00-${'a'.repeat(32)}-${'b'.repeat(16)}-${flags}`);
    const span = trace.getTracer('test').startSpan('work', {}, parent);
    expect(span.spanContext().traceId).toBe('a'.repeat(32));
    expect(traceparentOf(span.spanContext())).toMatch(new RegExp(`^00-a{32}-[0-9a-f]{16}-${flags}$`));
    expect(traceparentOf(span.spanContext(), { sampled: false })).toMatch(/-00$/);
    span.end();
    await tracing.shutdown();
    expect(seen).toHaveLength(exported);
  });

  test('without tracing a child carries what its parent came with', () => {
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`;
    const span = trace.getTracer('test').startSpan('work', {}, contextOf(traceparent));
    expect(traceparentOf(span.spanContext())).toBe(traceparent);
  });

  test.each([null, '', 'nonsense', '00-0-0-0'])('a trace context of %j begins a trace', (traceparent) => {
    expect(trace.getSpanContext(contextOf(traceparent))).toBeUndefined();
  });
});
