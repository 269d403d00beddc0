import { generationOf, type SessionGeneration } from './idle-session.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { endQueuedTasks, failTasksOf } from './session-tasks.js';

/** Rows of one statement: each is well below the statement limit, and no lock is held for long. */
const batchRows = 2_000;

/** What is left after a step: `more` steps, or nothing. */
export type DeletionStep = 'more' | 'done';

/** The session `s` that is being deleted: of this id and generation, and marked. */
const markedSql = `s.session_id = $1 and ${generationOf('s')} = $2 and s.deleted_at is not null`;

/**
 * Deletes the next bounded part of a session that is marked as deleted: its runs one after another, each with its events first, then what belongs to the
 * session itself, and its row last. Called again after whatever happened it goes on. The audit log stays, and so do queue tasks, ended.
 *
 * Only what belongs to this generation of the session is touched, also by a step that stood still until somebody made a new session of the same id: what
 * is deleted was found in one statement together with the mark, which is never taken back, and goes by names that are never given twice (ids of runs and
 * messages, names of jobs); what goes by the session's id goes while its row is held.
 */
export async function deleteSessionStep(pool: Pool, session: SessionGeneration): Promise<DeletionStep> {
  const found = await pool.query<{ run_id: string | null }>(
    `select (select r.run_id from runs r where r.session_id = s.session_id order by r.run_id limit 1) as run_id
       from sessions s where ${markedSql}`,
    [session.sessionId, session.generation],
  );
  const marked = found.rows[0];
  if (marked === undefined) return 'done';
  if (marked.run_id !== null) return deleteRunStep(pool, marked.run_id);
  return deleteSessionRest(pool, session);
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
      'event_deltas',
      'run_watchers',
      'runs',
    ])
      await tx.query(`delete from ${table} where run_id = $1`, [runId]);
    // What is not delivered yet is still said; the worker forgets it a while after its end.
    await tx.query(`delete from webhook_deliveries where run_id = $1 and state in ('delivered', 'dead')`, [
      runId,
    ]);
  });
  return 'more';
}

async function deleteSessionRest(pool: Pool, session: SessionGeneration): Promise<DeletionStep> {
  await withTransaction(pool, (tx) => deleteMessages(tx, session));
  const runners = await withTransaction(pool, (tx) => deleteRunners(tx, session));
  if (runners === batchRows) return 'more';
  return withTransaction(pool, (tx) => deleteLast(tx, session));
}

/**
 * A message that is being decided is left for the next step: its decision waits for the session's row. Whose task waits for the decision must not wait for
 * a message that is gone.
 */
async function deleteMessages(tx: Transaction, { sessionId, generation }: SessionGeneration): Promise<void> {
  const deleted = await tx.query<{ command_id: string }>(
    `delete from session_messages where command_id in (
       select m.command_id from session_messages m
        where m.session_id = $1 and exists (select 1 from sessions s where ${markedSql})
        order by m.command_id limit $3 for update of m skip locked)
     returning command_id`,
    [sessionId, generation, batchRows],
  );
  await failTasksOf(
    tx,
    sessionId,
    deleted.rows.map((row) => row.command_id),
  );
}

async function deleteRunners(tx: Transaction, { sessionId, generation }: SessionGeneration): Promise<number> {
  const jobs = await tx.query<{ job_name: string }>(
    `select r.job_name from runners r where r.session_id = $1 and exists (select 1 from sessions s where ${markedSql})
      order by r.job_name limit $3`,
    [sessionId, generation, batchRows],
  );
  const names = jobs.rows.map((row) => row.job_name);
  await tx.query('delete from leases where job_name = any($1)', [names]);
  await tx.query('delete from runners where job_name = any($1)', [names]);
  return names.length;
}

async function deleteLast(
  tx: Transaction,
  { sessionId, generation }: SessionGeneration,
): Promise<DeletionStep> {
  // Against a run that is being added: its insert waits for this lock, and finds no session.
  const marked = await tx.query(`select 1 from sessions s where ${markedSql} for update`, [
    sessionId,
    generation,
  ]);
  if (marked.rows.length === 0) return 'done';
  // No message is deleted here: who decides about one holds it and then waits for the session.
  const left = await tx.query(
    `select 1 where exists (select 1 from runs where session_id = $1) or exists (select 1 from runners where session_id = $1)
       or exists (select 1 from session_messages where session_id = $1)`,
    [sessionId],
  );
  if (left.rows.length > 0) return 'more';
  await endQueuedTasks(tx, sessionId);
  await tx.query('delete from session_reads where session_id = $1', [sessionId]);
  // A repeat of the request that made the session must not be answered with one that is not there.
  await tx.query(
    `delete from idempotency_keys where tenant_id = (select tenant_id from sessions where session_id = $1)
        and coalesce(answer -> 'session' ->> 'sessionId', answer ->> 'sessionId') = $1`,
    [sessionId],
  );
  await tx.query('delete from sessions where session_id = $1', [sessionId]);
  return 'done';
}
