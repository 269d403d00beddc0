import { trace } from '@opentelemetry/api';
import { ExportResultCode } from '@opentelemetry/core';
import { InMemorySpanExporter, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace-node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { commandRecordSchema } from '../../contract/commands.js';
import { assignmentSchema } from '../../contract/runners.js';
import { runRecordSchema } from '../../contract/runs.js';
import { sendAnswerSchema } from '../../contract/sessions.js';
import { startTracing, type Tracing } from '../../infra/telemetry/tracing.js';
import { startApi, type TestApi } from '../support/api.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { newSessionId, owner } from '../support/turns.js';

let postgres: TestPostgres;
let api: TestApi;
let tracing: Tracing | undefined;

beforeAll(async () => {
  postgres = await startPostgres();
  api = await startApi(await postgres.newDatabase());
});
afterAll(async () => {
  await api?.stop();
  await postgres?.stop();
});
afterEach(async () => {
  await tracing?.shutdown();
  trace.disable();
});

const traceparent = `00-${'a1'.repeat(16)}-${'b2'.repeat(8)}-01`;
const headers = { traceparent };

/** Everything that the calls of `work` told, request spans apart. */
async function spansOf(
  work: () => Promise<unknown>,
): Promise<{ requests: ReadableSpan[]; told: ReadableSpan[] }> {
  const exporter = new InMemorySpanExporter();
  tracing = startTracing({
    serviceName: 'test',
    exporter,
    onFailure: api.deps.metrics.process.onTelemetryFailure,
  });
  await work();
  await tracing.spanProcessor.forceFlush();
  // A request's own span ends when its connection has taken the answer.
  const isRequest = (span: ReadableSpan) => span.attributes['agentrun.operation'] !== undefined;
  await expect
    .poll(async () => {
      await tracing?.spanProcessor.forceFlush();
      return exporter.getFinishedSpans().some(isRequest);
    })
    .toBe(true);
  const spans = exporter.getFinishedSpans();
  return { requests: spans.filter(isRequest), told: spans.filter((span) => !isRequest(span)) };
}
const told = (spans: readonly ReadableSpan[]) =>
  spans.map(({ name, attributes, status }) => [name, attributes['http.status_code'], status.code]);

const newRun = () => api.data(runRecordSchema, 'POST', '/api/v1/runs', { body: owner });

describe('the spans that the contract names', () => {
  it('of a send, in the trace of the caller and below the request', async () => {
    const sessionId = newSessionId();
    const { requests, told: spans } = await spansOf(() =>
      api.data(sendAnswerSchema, 'POST', `/api/v1/sessions/${sessionId}/send`, {
        body: { prompt: 'hello', run: owner },
        headers,
      }),
    );
    expect(told(spans)).toEqual([
      ['run_created', 200, 0],
      ['command_created', 200, 0],
      ['runner_job_created', 200, 0],
      ['session_send', 200, 0],
    ]);
    for (const span of [...spans, ...requests]) expect(span.spanContext().traceId).toBe('a1'.repeat(16));
    const [request] = requests;
    expect(request?.parentSpanContext?.spanId).toBe('b2'.repeat(8));
    expect(request?.name).toBe('POST /api/v1/sessions/:sessionId/send');
    for (const span of spans) {
      expect(span.parentSpanContext?.spanId).toBe(request?.spanContext().spanId);
      expect(span.attributes).toMatchObject({
        'http.method': 'POST',
        'http.route': '/api/v1/sessions/:sessionId/send',
        decision: 'turn',
      });
      expect(JSON.stringify(span.attributes)).not.toContain('hello');
    }
  });

  it('of a dry run, and of a poll that brings nothing: none', async () => {
    const { id } = await newRun();
    const { told: spans } = await spansOf(async () => {
      await api.call('POST', `/api/v1/sessions/${newSessionId()}/send`, {
        body: { prompt: 'hello', run: owner, dryRun: true },
      });
      await api.call('GET', `/api/v1/runs/${id}/events?afterSeq=1000`);
    });
    expect(told(spans)).toEqual([]);
  });

  it('of a failed request: its error and its real status', async () => {
    const { told: spans, requests } = await spansOf(() =>
      api.call('GET', '/api/v1/runs/run_00000000000000000000000000/result'),
    );
    expect(told(spans)).toEqual([['command_result', 404, 2]]);
    expect(spans[0]?.attributes.failureKind).toBe('not-found');
    expect(requests[0]?.attributes).toMatchObject({
      'http.response.status_code': 404,
      'agentrun.operation': 'getRunResult',
      'agentrun.failure_kind': 'not-found',
    });
  });

  it('of events: those with a span of their own, at most twenty of a batch, no secret in them', async () => {
    const run = await newRun();
    const command = await api.data(commandRecordSchema, 'POST', `/api/v1/runs/${run.id}/commands`, {
      body: { type: 'turn', payload: { prompt: 'hello' } },
    });
    expect(command.runId).toBe(run.id);
    const { runToken } = await api.data(assignmentSchema, 'POST', `/api/v1/runs/${run.id}/claim`, {
      body: { runnerId: 'runner-1', leaseMs: 60_000 },
    });
    const lines = Array.from({ length: 60 }, (_, index) =>
      JSON.stringify({
        seq: index + 1,
        event:
          index % 2 === 0
            ? { type: 'agent_message', payload: { itemId: `${index}`, text: 'x' } }
            : {
                type: 'error',
                payload: { failureKind: 'agent-error', message: `no https://u:canary-9f@host ${index}` },
              },
      }),
    );
    const { told: spans } = await spansOf(() =>
      api.call('POST', `/api/v1/runs/${run.id}/ingest`, {
        body: lines.join('\n'),
        token: runToken,
        headers: { 'content-type': 'application/x-ndjson' },
      }),
    );
    expect(spans).toHaveLength(20);
    expect(new Set(spans.map((span) => span.name))).toEqual(new Set(['runner_error']));
    for (const span of spans) {
      expect(span.attributes).toMatchObject({
        runId: run.id,
        failureKind: 'agent-error',
        eventType: 'error',
      });
      expect(span.status.code).toBe(2);
      expect(JSON.stringify([span.attributes, span.status])).not.toContain('canary-9f');
    }
  });
});

describe('a broken exporter changes no answer', () => {
  it.each<[string, SpanExporter['export']]>([
    [
      'that throws',
      () => {
        throw new Error('no');
      },
    ],
    ['that fails later', (_spans, answer) => setImmediate(() => answer({ code: ExportResultCode.FAILED }))],
  ])('%s', async (_how, send) => {
    const failures = async () => {
      const text = await api.deps.metrics.process.registry.getSingleMetricAsString(
        'agentrun_telemetry_failures_total',
      );
      return Number(/part="export"} (\d+)/.exec(text)?.[1]);
    };
    const before = await failures();
    tracing = startTracing({
      serviceName: 'test',
      exporter: { export: send, shutdown: () => Promise.resolve() },
      onFailure: api.deps.metrics.process.onTelemetryFailure,
    });
    const answer = await api.call('POST', '/api/v1/runs', { body: owner, headers });
    expect(answer.status).toBe(200);
    expect(answer.body.traceId).toBe('a1'.repeat(16));
    await tracing.shutdown();
    expect(await failures()).toBeGreaterThan(before);
  });
});
