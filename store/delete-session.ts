import { type Pool, type Transaction, withTransaction } from './pool.js';

/** Rows of one statement: each is well below the statement limit, and no lock is held for long. */
const batchRows = 2_000;

/** What is left after a step: `more` steps, or nothing. */
export type DeletionStep = 'more' | 'done';

/**
 * Deletes the next bounded part of a session that is marked as deleted: its runs one after another, each with its events first, then what belongs to the
 * session itself, and its row last. Each step is a transaction of its own; called again after whatever happened it goes on. A session that is not marked
 * is left alone: after the last step somebody may have made a new one of the same id. The audit log and queue tasks stay.
 */
export async function deleteSessionStep(pool: Pool, sessionId: string): Promise<DeletionStep> {
  const marked = await pool.query('select 1 from sessions where session_id = $1 and deleted_at is not null', [
    sessionId,
  ]);
  if (marked.rows.length === 0) return 'done';
  const run = await pool.query<{ run_id: string }>(
    'select run_id from runs where session_id = $1 order by run_id limit 1',
    [sessionId],
  );
  const runId = run.rows[0]?.run_id;
  if (runId !== undefined) return deleteRunStep(pool, runId);
  return deleteSessionRest(pool, sessionId);
}

async function deleteRunStep(pool: Pool, runId: string): Promise<DeletionStep> {
  // By the primary key of its partition alone: a page of the log from its beginning.
  await pool.query(
    `delete from events where run_id = $1 and seq <= (
       select max(seq) from (select seq from events where run_id = $1 order by seq limit $2) page)`,
    [runId, batchRows],
  );
  await pool.query(
    `delete from quarantined_events where quarantine_id in (
       select quarantine_id from quarantined_events where run_id = $1 limit $2)`,
    [runId, batchRows],
  );
  // Not by the number of deleted rows: another step at the same time may have been first.
  const left = await pool.query(
    `select 1 where exists (select 1 from events where run_id = $1)
       or exists (select 1 from quarantined_events where run_id = $1)`,
    [runId],
  );
  if (left.rows.length > 0) return 'more';
  await withTransaction(pool, async (tx) => {
    await tx.query('select 1 from runs where run_id = $1 for update', [runId]);
    for (const table of [
      'run_projections',
      'run_log',
      'agent_requests',
      'commands',
      'runner_jobs',
      'attempts',
      'events',
      'quarantined_events',
      'runs',
    ])
      await tx.query(`delete from ${table} where run_id = $1`, [runId]);
  });
  return 'more';
}

async function deleteSessionRest(pool: Pool, sessionId: string): Promise<DeletionStep> {
  await pool.query(
    `delete from session_messages where command_id in (
       select command_id from session_messages where session_id = $1 limit $2)`,
    [sessionId, batchRows],
  );
  const left = await pool.query('select 1 from session_messages where session_id = $1 limit 1', [sessionId]);
  if (left.rows.length > 0) return 'more';
  const runners = await withTransaction(pool, (tx) => deleteRunners(tx, sessionId));
  if (runners === batchRows) return 'more';
  return withTransaction(pool, async (tx) => {
    // Against a run that is being added: its insert waits for this lock, and finds no session.
    await tx.query('select 1 from sessions where session_id = $1 for update', [sessionId]);
    const runs = await tx.query('select 1 from runs where session_id = $1 limit 1', [sessionId]);
    if (runs.rows.length > 0) return 'more';
    await tx.query('delete from session_messages where session_id = $1', [sessionId]);
    await tx.query('delete from session_reads where session_id = $1', [sessionId]);
    // A repeat of the request that made the session must not be answered with one that is not there.
    await tx.query(
      `delete from idempotency_keys where tenant_id = (select tenant_id from sessions where session_id = $1)
          and coalesce(answer -> 'session' ->> 'sessionId', answer ->> 'sessionId') = $1`,
      [sessionId],
    );
    await tx.query('delete from sessions where session_id = $1', [sessionId]);
    return 'done';
  });
}

async function deleteRunners(tx: Transaction, sessionId: string): Promise<number> {
  const jobs = await tx.query<{ job_name: string }>(
    'select job_name from runners where session_id = $1 order by job_name limit $2',
    [sessionId, batchRows],
  );
  const names = jobs.rows.map((row) => row.job_name);
  await tx.query('delete from leases where job_name = any($1)', [names]);
  await tx.query('delete from runners where job_name = any($1)', [names]);
  return names.length;
}
