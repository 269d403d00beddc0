import { executionPolicySchema } from '../../contract/execution-policy.js';
import { idPrefixes } from '../../contract/ids.js';
import { newId } from '../../store/new-id.js';
import type { Queryable } from '../../store/pool.js';
import { storeSession } from './list-rows.js';
import type { TestDatabase } from './postgres.js';

/** A run with a log as a test wants it; what is left out is that of a run that goes on. */
export interface StoredLog {
  readonly runId?: string;
  readonly tenantId?: string;
  /** How many events it has. */
  readonly events?: number;
  /** The run has ended so long ago. */
  readonly endedDaysAgo?: number;
}

/** Stores a run with its log, in a session of its own. Answers the run's id. */
export async function storeLog({ pool }: Pick<TestDatabase, 'pool'>, log: StoredLog = {}): Promise<string> {
  const sessionId = await storeSession(pool, { tenantId: log.tenantId ?? 'acme' });
  const runId = log.runId ?? newId(idPrefixes.run);
  await pool.query(
    `insert into runs (run_id, tenant_id, project_id, session_id, session_turn, backend_profile, launcher, execution_policy, status, terminal_status,
       finished_at)
     select $1, tenant_id, project_id, session_id, 1, 'codex', 'process', $3, case when $4::float8 is null then 'running' else 'completed' end,
       case when $4::float8 is not null then 'completed' end, now() - $4::float8 * interval '1 day' from sessions where session_id = $2`,
    [runId, sessionId, JSON.stringify(executionPolicySchema.parse({})), log.endedDaysAgo ?? null],
  );
  await pool.query(
    `insert into run_log (run_id, closed_at) values ($1, now() - $2::float8 * interval '1 day')`,
    [runId, log.endedDaysAgo ?? null],
  );
  await storeEvents(pool, runId, log.events ?? 0);
  return runId;
}

/** Appends events to a log as the writers do: under the lock of its row. */
export async function storeEvents(db: Queryable, runId: string, count: number): Promise<void> {
  if (count === 0) return;
  await db.query(
    `with log as (
       update run_log set last_seq = last_seq + $2, last_xid = greatest(pg_current_xact_id(), last_xid) where run_id = $1
       returning last_seq, last_xid)
     insert into events (run_id, seq, event_id, epoch, type, payload, xid)
     select $1, last_seq - $2 + n, 'evt_' || $1 || n, 1, 'agent_message', jsonb_build_object('itemId', 'i' || n, 'text', 'event ' || n), last_xid
       from log, generate_series(1, $2::int) n order by n`,
    [runId, count],
  );
}
