import { describe, expect, it } from 'vitest';
import { appendBatch } from '../../store/append-batch.js';
import { ingest } from '../../store/ingest.js';
import { withTransaction } from '../../store/pool.js';
import type { RunnerIdentity } from '../../store/runner-identity.js';
import { finishTurn, writeAttempt } from '../../store/turn-steps.js';
import { claimTurn, storeTurn, turnSettings } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

async function servingRunner(): Promise<RunnerIdentity> {
  const { runId } = await storeTurn(database.pool, {});
  await claimTurn(database.pool, runId);
  return { runId, epoch: 1, runnerId: 'runner', jobName: 'job' };
}
const batch = (from: number, to: number) => ({
  lines: Array.from({ length: to - from + 1 }, (_, index) => ({
    seq: from + index,
    event: { type: 'diff' as const, payload: { diff: `${from + index}` } },
  })),
  finalSeq: null,
});
const storedOf = async (runId: string) =>
  (
    await database.pool.query<{ seq: number }>(
      'select producer_seq as seq from events where run_id = $1 and producer_seq is not null order by seq',
      [runId],
    )
  ).rows.map(({ seq }) => seq);

/** Resolves when somebody waits for a lock that another holds. */
async function somebodyWaits(): Promise<void> {
  const deadline = Date.now() + 900;
  for (;;) {
    const waiting = await database.pool.query(
      `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    if (waiting.rows.length > 0) return;
    if (Date.now() > deadline) throw new Error('nobody waits for a lock');
  }
}

/** Sends a batch that waits for the log while `change` is written, and goes on after its commit. */
async function sentDuring(
  runner: RunnerIdentity,
  change: (query: (text: string) => Promise<unknown>) => Promise<unknown>,
) {
  const sent = await withTransaction(database.pool, async (tx) => {
    await tx.query('select 1 from runs where run_id = $1 for no key update', [runner.runId]);
    await tx.query('select 1 from run_log where run_id = $1 for update', [runner.runId]);
    const waiting = ingest(database.pool, runner, batch(3, 4));
    waiting.catch(() => undefined);
    await somebodyWaits();
    await change((text) => tx.query(text, [runner.runId]));
    return { waiting };
  });
  return sent.waiting;
}

describe('an append that waits for the log', () => {
  it.each([
    ['its attempt is replaced', 'update runs set current_epoch = 2 where run_id = $1', 'fenced'],
    [
      'another runner takes its attempt',
      `update attempts set claimed_by = 'other' where run_id = $1`,
      'fenced',
    ],
    [
      'its run ends',
      `with ended as (update runs set terminal_status = 'failed' where run_id = $1)
       update run_log set closed_at = now() where run_id = $1`,
      'conflict',
    ],
    [
      'its producer completes the stream',
      'update run_log set completed_epoch = 1 where run_id = $1',
      'conflict',
    ],
  ])('while %s stores nothing', async (_name, change, failureKind) => {
    const runner = await servingRunner();
    await ingest(database.pool, runner, batch(1, 2));
    const { answer, refusal, quarantined } = await sentDuring(runner, (query) => query(change));
    expect([refusal?.failureKind, answer.lastAcceptedSeq, quarantined]).toEqual([failureKind, 2, 2]);
    expect(await storedOf(runner.runId)).toEqual([1, 2]);
  });

  it('while nothing changes is stored', async () => {
    const runner = await servingRunner();
    await ingest(database.pool, runner, batch(1, 2));
    const { answer } = await sentDuring(runner, () => Promise.resolve());
    expect(answer).toEqual({ accepted: 2, duplicate: 0, lastAcceptedSeq: 4 });
    expect(await storedOf(runner.runId)).toEqual([1, 2, 3, 4]);
  });
});

describe('the row of a log', () => {
  const writerOf = async (runId: string) =>
    (await database.pool.query('select writer_epoch, writer from run_log where run_id = $1', [runId]))
      .rows[0] as unknown;

  it('knows the current attempt and who holds it', async () => {
    const { runId } = await storeTurn(database.pool, {});
    expect(await writerOf(runId)).toEqual({ writer_epoch: 1, writer: null });
    await claimTurn(database.pool, runId);
    expect(await writerOf(runId)).toEqual({ writer_epoch: 1, writer: 'runner' });
    await writeAttempt(database.pool, turnSettings, runId, 2);
    expect(await writerOf(runId)).toEqual({ writer_epoch: 2, writer: null });
  });

  it('tells at most 500 characters of why the run ended', async () => {
    const { runId } = await servingRunner();
    await finishTurn(database.pool, runId, {
      terminalStatus: 'failed',
      failureKind: 'infra-failed',
      failureMessage: 'x'.repeat(501),
    });
    const ended = await database.pool.query(
      `select type, payload from events where run_id = $1 order by seq desc limit 1`,
      [runId],
    );
    expect(ended.rows).toEqual([
      {
        type: 'terminal_status',
        payload: { terminalStatus: 'failed', failureKind: 'infra-failed', message: 'x'.repeat(500) },
      },
    ]);
  });
});

it('a batch is one statement, of which every part finds its rows by an index', async () => {
  const runner = await servingRunner();
  const { values, text } = await statementOf(runner);
  const client = await database.pool.connect();
  try {
    await client.query('begin');
    // A table of a few pages is read whole; of a large one that would show as the plan.
    await client.query('set local enable_seqscan = off');
    const plan = await client.query<{ 'QUERY PLAN': string }>(`explain ${text}`, values);
    const lines = plan.rows.map((row) => row['QUERY PLAN']).join('\n');
    expect(lines).not.toContain('Seq Scan');
    await client.query('rollback');
  } finally {
    client.release();
  }
});

/** The statement that stores 100 events. */
async function statementOf(runner: RunnerIdentity): Promise<{ text: string; values: unknown[] }> {
  const seen: { text: string; values: unknown[] }[] = [];
  const recording = new Proxy(database.pool, {
    get: (target, name) => {
      if (name !== 'query') throw new Error(`${String(name)} is not expected here`);
      return (statement: { text: string; values: unknown[] }) => {
        seen.push(statement);
        return target.query(statement);
      };
    },
  });
  expect(await appendBatch(recording, runner, batch(1, 100).lines)).toBe(true);
  const [statement] = seen;
  if (statement === undefined || seen.length > 1) throw new Error(`${seen.length} statements`);
  return statement;
}
