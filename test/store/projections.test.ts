import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { ProducedEvent } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';
import { createRunSchema } from '../../contract/runs.js';
import { appendEvents } from '../../store/events.js';
import { withTransaction } from '../../store/pool.js';
import { getRunResult } from '../../store/run-results.js';
import { createRun } from '../../store/runs.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

const newRun = async () =>
  (
    await createRun(database.pool, createRunSchema.parse({ tenantId: 'acme', projectId: 'web' }), {
      traceparent: null,
      key: null,
    })
  ).run.id;
const append = (runId: string, epoch: number, ...events: ProducedEvent[]) =>
  withTransaction(database.pool, (tx) => appendEvents(tx, runId, epoch, events));
const event = (type: ProducedEvent['type'], payload: JsonObject, at?: string): ProducedEvent => ({
  type,
  payload,
  ...(at === undefined ? {} : { at }),
});
const rowSchema = z.object({
  proxy_usage: z.unknown(),
  agent_usage: z.unknown(),
  last_activity: z.looseObject({ at: z.iso.datetime() }).nullable(),
  last_error: z.looseObject({ seq: z.number() }).nullable(),
  recovered_seq: z.number().nullable(),
  last_disconnect: z.looseObject({ seq: z.number() }).nullable(),
});
const projection = async (runId: string) =>
  rowSchema.parse(
    (await database.pool.query('select * from run_projections where run_id = $1', [runId])).rows[0],
  );
const usage = (source: string, inputTokens: number, outputTokens: number): ProducedEvent =>
  event('usage', {
    source,
    inputTokens,
    cachedInputTokens: 1,
    outputTokens,
    reasoningOutputTokens: 0,
    totalTokens: inputTokens + outputTokens,
  });
const retry = event('error', { willRetry: true, codexErrorInfo: 'other', providerStatus: 503, message: 'm' });

describe('the projection of a run', () => {
  it('keeps the last message and the last diff, also one without a text', async () => {
    const runId = await newRun();
    const shown = async () => {
      const { finalMessage, diff } = await getRunResult(database.pool, runId);
      return [finalMessage, diff];
    };
    expect(await shown()).toEqual([null, null]);
    await append(
      runId,
      1,
      event('agent_message', { itemId: 'a', text: 'one' }),
      event('diff', { diff: 'd1' }),
    );
    expect(await shown()).toEqual(['one', 'd1']);
    await append(runId, 1, event('agent_message', { itemId: 'b', text: 'two\u0000\ud800' }));
    expect(await shown()).toEqual(['two\u{fffd}\u{fffd}', 'd1']);
    await append(runId, 1, event('diff', { diff: null }), event('backend_status', { phase: 'x' }));
    expect(await shown()).toEqual(['two\u{fffd}\u{fffd}', null]);
  });

  it('adds the requests of the proxy over batches; of the agent each attempt’s last report counts', async () => {
    const runId = await newRun();
    const shown = async () => (await getRunResult(database.pool, runId)).usage;
    expect(await shown()).toBeNull();
    await append(runId, 1, usage('agent', 10, 1), usage('agent', 30, 3));
    await append(runId, 2, usage('agent', 7, 2));
    expect(await shown()).toMatchObject({ requests: 2, inputTokens: 37, outputTokens: 5, totalTokens: 42 });
    await append(runId, 2, usage('proxy', 1, 1), usage('proxy', 2, 2));
    await append(runId, 2, usage('proxy', 4, 4));
    expect(await shown()).toEqual({
      requests: 3,
      inputTokens: 7,
      cachedInputTokens: 3,
      outputTokens: 7,
      reasoningOutputTokens: 0,
      totalTokens: 14,
    });
  });

  it('keeps the last activity with its time, or the time of its storing', async () => {
    const runId = await newRun();
    const at = '2026-01-02T03:04:05.000Z';
    await append(
      runId,
      1,
      event('command_execution', { itemId: 'c', command: 'ls', status: 'inProgress' }, at),
    );
    expect((await projection(runId)).last_activity).toMatchObject({
      seq: 1,
      at,
      activityKind: 'command',
      summary: 'ls',
    });
    expect((await getRunResult(database.pool, runId)).liveness.lastActivity).toMatchObject({
      sourceSeq: 1,
      activityKind: 'command',
      toolName: 'shell',
      itemId: 'c',
    });
    await append(
      runId,
      1,
      event('backend_status', { phase: 'x' }),
      event('reasoning', { itemId: 'r', text: 't' }),
    );
    const { last_activity: activity } = await projection(runId);
    expect(activity).toMatchObject({ seq: 3, epoch: 1, activityKind: 'reasoning' });
    expect(Math.abs(Date.parse(activity?.at ?? '') - Date.now())).toBeLessThan(60_000);
  });

  it('knows whether output came after the last error, in whichever batch', async () => {
    const runId = await newRun();
    const state = async () => {
      const row = await projection(runId);
      return [row.last_error?.seq ?? null, row.recovered_seq];
    };
    const output = event('agent_message', { itemId: 'a', text: 'x' });
    await append(runId, 1, output);
    expect(await state()).toEqual([null, null]);
    await append(runId, 1, retry);
    expect(await state()).toEqual([2, null]);
    await append(runId, 1, output, output);
    expect(await state()).toEqual([2, 3]);
    await append(runId, 1, output);
    expect(await state()).toEqual([2, 3]);
    await append(runId, 1, retry, output, retry);
    expect(await state()).toEqual([8, null]);
    await append(runId, 1, retry, output);
    expect(await state()).toEqual([9, 10]);
  });

  it('keeps the last disconnect', async () => {
    const runId = await newRun();
    await append(runId, 1, event('error', { message: 'stream disconnected before completion: eof' }));
    expect((await projection(runId)).last_disconnect).toMatchObject({ seq: 1, epoch: 1 });
  });

  it('is made for a run that has none, and takes one statement at most', async () => {
    const runId = await newRun();
    await database.pool.query('delete from run_projections where run_id = $1', [runId]);
    await append(runId, 1, event('backend_status', { phase: 'x' }));
    const count = 'select count(*)::int as rows from run_projections where run_id = $1';
    expect((await database.pool.query(count, [runId])).rows).toEqual([{ rows: 0 }]);
    const statements = await statementsOf(runId, [usage('proxy', 1, 1), retry, event('diff', { diff: 'd' })]);
    expect(statements.filter((text) => text.includes('run_projections'))).toHaveLength(1);
    expect((await getRunResult(database.pool, runId)).usage?.requests).toBe(1);
  });

  it('is rolled back with the events', async () => {
    const runId = await newRun();
    const failed = withTransaction(database.pool, async (tx) => {
      await appendEvents(tx, runId, 1, [event('diff', { diff: 'lost' })]);
      throw new Error('no');
    });
    await expect(failed).rejects.toThrow('no');
    expect((await getRunResult(database.pool, runId)).diff).toBeNull();
  });
});

/** The statements that appending these events runs. */
async function statementsOf(runId: string, events: readonly ProducedEvent[]): Promise<string[]> {
  const statements: string[] = [];
  await withTransaction(database.pool, (tx) => {
    const recording = new Proxy(tx, {
      get: (target, name) => {
        if (name !== 'query') throw new Error(`${String(name)} is not expected here`);
        return (text: string, values: unknown[]) => {
          statements.push(text);
          return target.query(text, values);
        };
      },
    });
    return appendEvents(recording, runId, 1, events);
  });
  return statements;
}
