import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { sendAnswerSchema } from '../../contract/sessions.js';
import {
  createSession,
  eventsToEnd,
  eventually,
  type LocalStack,
  send,
  startLocalStack,
} from '../support/local-stack.js';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../support/otlp-receiver.js';

let collector: OtlpReceiver;
let local: LocalStack;
beforeAll(async () => {
  collector = await startOtlpReceiver();
  local = await startLocalStack(() => undefined, undefined, {
    variables: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url },
  });
});
afterAll(async () => {
  await local?.stop();
  await collector?.close();
});

const callerSpanId = 'b2'.repeat(8);

const sentSchema = z.object({ ok: z.literal(true), traceId: z.string(), data: sendAnswerSchema });

/** Sends as a caller that traces, and waits for the end of the turn. Answers the run. */
async function turn(
  sessionId: string,
  traceId: string,
  options: { flags?: string; body?: Record<string, unknown> } = {},
): Promise<string> {
  const response = await fetch(`${local.stack.apiUrl}/api/v1/sessions/${sessionId}/send`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${local.token}`,
      'content-type': 'application/json',
      traceparent: `00-${traceId}-${callerSpanId}-${options.flags ?? '01'}`,
    },
    body: JSON.stringify({ prompt: 'hello', ...options.body }),
  });
  const answer = sentSchema.parse(await response.json());
  expect(answer.traceId).toBe(traceId);
  await eventsToEnd(local, sessionId, answer.data.run.id);
  return answer.data.run.id;
}

const ofTrace = (traceId: string) => collector.spans.filter((span) => span.traceId === traceId);
const named = (spans: readonly ReceivedSpan[], name: string) => spans.filter((span) => span.name === name);

/** The whole trace: its last spans are those of the workflow that ends and of the runner's batch. */
function wholeTrace(traceId: string): Promise<ReceivedSpan[]> {
  return eventually(`the spans of trace ${traceId}`, () => {
    const spans = ofTrace(traceId);
    const names = new Set(spans.map((span) => span.name));
    const isWhole = ['RunWorkflow:turnWorkflow', 'runner_serve', 'session_send'].every((name) =>
      names.has(name),
    );
    return isWhole && orphans(spans).length === 0 ? spans : undefined;
  }).catch((error: unknown) => {
    const spans = ofTrace(traceId);
    throw new Error(
      `not whole: ${spans.map((span) => `${span.service}/${span.name}`).join(', ')}; orphans: ${orphans(spans)
        .map((span) => span.name)
        .join(', ')}`,
      { cause: error },
    );
  });
}

/**
 * Spans whose parent never came; the first has one that the caller keeps. The workflow of the session, which outlives the message
 * that started it, has not ended its own span: the looks for a next turn below it are no orphans.
 */
function orphans(spans: readonly ReceivedSpan[]): ReceivedSpan[] {
  const ids = new Set([...spans.map((span) => span.spanId), callerSpanId]);
  return spans.filter((span) => !ids.has(span.parentSpanId) && span.name !== 'StartActivity:nextTurn');
}

/** Names from the root down to a span. */
function lineage(spans: readonly ReceivedSpan[], span: ReceivedSpan | undefined): string[] {
  if (span === undefined) return [];
  const parent = spans.find((one) => one.spanId === span.parentSpanId);
  return [...lineage(spans, parent), span.name];
}

describe('one trace from the request through the workflow to the runner', () => {
  let sessionId: string;

  it('of the first turn of a session', async () => {
    sessionId = await createSession(local);
    const traceId = 'a1'.repeat(16);
    const runId = await turn(sessionId, traceId);
    const spans = await wholeTrace(traceId);

    expect(new Set(spans.map((span) => span.service))).toEqual(
      new Set(['agentrun-api', 'agentrun-worker', 'agentrun-runner']),
    );
    expect(spans.filter((span) => span.parentSpanId === callerSpanId).map((span) => span.name)).toEqual([
      'POST /api/v1/sessions/:sessionId/send',
    ]);
    const [serve] = named(spans, 'runner_serve');
    expect(serve?.attributes).toMatchObject({ runId, sessionId, epoch: 1, turnStatus: 'completed' });
    expect(lineage(spans, serve)).toEqual(['POST /api/v1/sessions/:sessionId/send', 'runner_serve']);
    for (const name of [
      'boot_starting_agent',
      'boot_opening_thread',
      'boot_sending_prompt',
      'agent_turn',
      'report',
    ])
      expect(lineage(spans, named(spans, name)[0]), name).toEqual([
        'POST /api/v1/sessions/:sessionId/send',
        'runner_serve',
        name,
      ]);
    expect(lineage(spans, named(spans, 'RunActivity:launchRunner')[0])).toContain('RunWorkflow:turnWorkflow');
    // The runner's requests are below its own span, and its steady traffic has no spans.
    const [finish] = named(spans, 'PATCH /api/v1/runs/:runId/status');
    expect(lineage(spans, finish)).toContain('runner_serve');
    expect(named(spans, 'PATCH /api/v1/runs/:runId/lease')).toEqual([]);
    expect(named(spans, 'GET /api/v1/runs/:runId/commands')).toEqual([]);
    expect(named(spans, 'POST /api/v1/runs/:runId/claim')).toHaveLength(1);
  });

  it('of a later turn on the warm runner: its own, not the first one’s', async () => {
    const traceId = 'c3'.repeat(16);
    const before = ofTrace('a1'.repeat(16)).filter((span) => span.name === 'runner_serve').length;
    const runId = await turn(sessionId, traceId);
    const spans = await wholeTrace(traceId);
    expect(named(spans, 'runner_serve').map((span) => span.attributes.runId)).toEqual([runId]);
    expect(named(spans, 'RunActivity:finishTurn')).toHaveLength(1);
    expect(ofTrace('a1'.repeat(16)).filter((span) => span.name === 'runner_serve')).toHaveLength(before);
  });

  it('of a turn that waited behind another', async () => {
    const { run } = await send(local, sessionId, '[[scenario:sleep seconds=3]]', { whenBusy: 'queue' });
    const traceId = 'd4'.repeat(16);
    const queued = await turn(sessionId, traceId, { body: { whenBusy: 'queue' } });
    expect(queued).not.toBe(run.id);
    const spans = await wholeTrace(traceId);
    expect(named(spans, 'runner_serve').map((span) => span.attributes.runId)).toEqual([queued]);
  });

  it('of a caller that does not sample: nothing is recorded, and the answer names the trace', async () => {
    const traceId = 'e5'.repeat(16);
    await turn(sessionId, traceId, { flags: '00' });
    // One that is recorded comes after it, with all that was buffered before.
    const next = 'f6'.repeat(16);
    await turn(sessionId, next);
    await wholeTrace(next);
    expect(ofTrace(traceId)).toEqual([]);
  });
});
