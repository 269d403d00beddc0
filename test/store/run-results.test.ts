import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createRunSchema, runResultSchema } from '../../contract/runs.js';
import { appendEvents } from '../../store/events.js';
import { type Queryable, withTransaction } from '../../store/pool.js';
import { getRunResult } from '../../store/run-results.js';
import { createRun } from '../../store/runs.js';
import { finishTurn, writeAttempt } from '../../store/turn-steps.js';
import { attemptSettings } from '../support/api.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

const unkeyed = { traceparent: null, key: null };

/** A turn of a local runner that has been claimed and runs, with `events` events in its log. */
async function runWithEvents(events: number): Promise<string> {
  const { pool } = database;
  const { run } = await createRun(
    pool,
    createRunSchema.parse({ tenantId: 'acme', projectId: 'web' }),
    unkeyed,
  );
  await pool.query(`update runs set launcher = 'process' where run_id = $1`, [run.id]);
  const { jobName } = await writeAttempt(pool, attemptSettings, run.id, 1);
  await pool.query(`update runs set status = 'running', started_at = now() where run_id = $1`, [run.id]);
  await pool.query(
    `update attempts set claimed_by = 'rnr_1', claimed_at = now(), first_output_at = now(), last_progress_at = now() where run_id = $1`,
    [run.id],
  );
  await pool.query(`update runners set state = 'serving', runner_id = $2 where job_name = $1`, [
    jobName,
    run.id,
  ]);
  await pool.query(
    `insert into leases (job_name, run_id, epoch, runner_id, lease_ms, expires_at) values ($1, $2, 1, 'rnr_1', 60000, now() + interval '1 minute')`,
    [jobName, run.id],
  );
  const last = events - 4;
  // In steps well below the statement's time limit, also on a busy machine.
  for (let first = 1; first <= last; first += 2_500) {
    await pool.query(
      `insert into events (run_id, seq, event_id, epoch, producer_seq, type, payload)
       select $1, n, $1 || '_' || n, 1, n, 'command_execution', '{"itemId": "i", "command": "true", "status": "completed"}'
         from generate_series($2::bigint, $3::bigint) n`,
      [run.id, first, Math.min(last, first + 2_499)],
    );
  }
  await pool.query('update run_log set last_seq = $2, last_event_at = now(), epoch = 1 where run_id = $1', [
    run.id,
    last,
  ]);
  await withTransaction(pool, (tx) =>
    appendEvents(tx, run.id, 1, [
      { type: 'agent_message', payload: { itemId: 'm', text: 'nearly done' } },
      { type: 'diff', payload: { diff: '+ line' } },
      { type: 'usage', payload: { source: 'proxy', inputTokens: 5, outputTokens: 1, totalTokens: 6 } },
      { type: 'command_execution', payload: { itemId: 'c', command: 'make', status: 'inProgress' } },
    ]),
  );
  return run.id;
}

const planSchema = z.array(z.object({ 'QUERY PLAN': z.array(z.object({ Plan: z.looseObject({}) })) }));

/** Runs the result of a run through EXPLAIN: the statements it takes, the pages they touch, and their plans as text. */
async function costOf(runId: string): Promise<{ statements: number; pages: number; plan: string }> {
  const client = await database.pool.connect();
  let statements = 0;
  let pages = 0;
  let plan = '';
  try {
    const explaining: Queryable = new Proxy(client, {
      get: (target, name) => {
        if (name !== 'query') throw new Error(`${String(name)} is not expected here`);
        return async (text: string, values: unknown[]) => {
          const explained = await target.query(`explain (analyze, buffers, format json) ${text}`, values);
          const [top] = planSchema.parse(explained.rows)[0]?.['QUERY PLAN'] ?? [];
          statements += 1;
          pages += Number(top?.Plan['Shared Hit Blocks']) + Number(top?.Plan['Shared Read Blocks']);
          plan += JSON.stringify(top);
          return target.query(text, values);
        };
      },
    });
    await getRunResult(explaining, runId);
  } finally {
    client.release();
  }
  return { statements, pages, plan };
}

describe('the result of a run', () => {
  it('costs the same for 10 and for 100,000 events', async () => {
    const short = await runWithEvents(10);
    const long = await runWithEvents(100_000);
    await database.pool.query(
      'analyze runs, run_log, run_projections, attempts, leases, runners, runner_jobs',
    );
    const shown = await getRunResult(database.pool, long);
    expect(shown).toMatchObject({
      lastSeq: 100_000,
      finalMessage: 'nearly done',
      diff: '+ line',
      usage: { requests: 1, totalTokens: 6 },
      liveness: { phase: 'running', lastActivity: { sourceSeq: 100_000, summary: 'make' } },
    });
    const [few, many] = [await costOf(short), await costOf(long)];
    expect([few.statements, many.statements]).toEqual([1, 1]);
    expect(few.pages).toBeGreaterThan(0);
    expect(Math.abs(many.pages - few.pages)).toBeLessThanOrEqual(5);
    // The log itself is not in the plan at all.
    expect(`${few.plan}${many.plan}`).not.toMatch(/"Relation Name":"events/);
  });

  it('follows a run from its creation to its end, and is then the same for ever', async () => {
    const { pool } = database;
    const { id } = (
      await createRun(pool, createRunSchema.parse({ tenantId: 'acme', projectId: 'web' }), unkeyed)
    ).run;
    const queued = runResultSchema.parse(await getRunResult(pool, id));
    expect(queued.liveness).toMatchObject({
      phase: 'queued',
      active: true,
      lastActivity: null,
      timeoutBudget: { state: 'not-applicable' },
    });
    expect(queued.terminalClassification.category).toBe('not-terminal');
    const runId = await runWithEvents(5);
    await finishTurn(pool, runId, {
      terminalStatus: 'failed',
      failureKind: 'runner-lost',
      failureMessage: 'x',
    });
    const end = runResultSchema.parse(await getRunResult(pool, runId));
    expect(end).toMatchObject({
      terminalStatus: 'failed',
      liveness: { phase: 'terminal', active: false, lease: { leaseExpired: false } },
      terminalClassification: { category: 'runner-lost', confidence: 'high' },
      diagnosis: { summary: expect.stringContaining('runner was lost') },
      steerDelivery: null,
    });
    expect(end.liveness.recoveryActions.map(({ action }) => action)).toEqual(['send-again', 'events']);
    const { terminalClassification } = await getRunResult(pool, runId);
    expect(terminalClassification).toEqual(end.terminalClassification);
  });

  it('is not found for another tenant', async () => {
    const runId = await runWithEvents(5);
    await expect(getRunResult(database.pool, runId, { tenantId: 'other' })).rejects.toThrow('does not exist');
  });
});
