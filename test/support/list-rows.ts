import { executionPolicySchema } from '../../contract/execution-policy.js';
import { idPrefixes } from '../../contract/ids.js';
import { newId } from '../../store/new-id.js';
import type { Pool } from '../../store/pool.js';

/** A row of `sessions` as a test wants it; what is left out is that of a new session. */
export interface ListedSession {
  readonly sessionId?: string;
  readonly tenantId?: string;
  readonly projectId?: string;
  readonly backendProfile?: string;
  readonly storageKind?: 'none' | 'pvc' | 'evicted';
  readonly labels?: Record<string, string>;
  /** ISO 8601 with microseconds. */
  readonly createdAt?: string;
  readonly archived?: boolean;
  readonly deleted?: boolean;
}

export async function storeSession(pool: Pool, row: ListedSession = {}): Promise<string> {
  const sessionId = row.sessionId ?? newId(idPrefixes.session);
  await pool.query(
    `insert into sessions (session_id, tenant_id, project_id, backend_profile, storage_kind, labels, created_at, archived_at, deleted_at,
       expires_at)
     values ($1, $2, $3, $4, $5, $6, coalesce($7::timestamptz, now()), case when $8 then now() end, case when $9 then now() end,
       now() + interval '1 day')`,
    [
      sessionId,
      row.tenantId ?? 'acme',
      row.projectId ?? 'web',
      row.backendProfile ?? 'codex',
      row.storageKind ?? 'pvc',
      JSON.stringify(row.labels ?? {}),
      row.createdAt ?? null,
      row.archived === true,
      row.deleted === true,
    ],
  );
  return sessionId;
}

/** Stores a run of a session, with its tenant; `queued`: it has a prompt and waits for its turn. */
export async function storeRun(
  pool: Pool,
  sessionId: string,
  row: {
    runId?: string;
    status?: string;
    projectId?: string;
    backendProfile?: string;
    labels?: Record<string, string>;
    queued?: boolean;
  } = {},
): Promise<string> {
  const runId = row.runId ?? newId(idPrefixes.run);
  const status = row.status ?? 'pending';
  await pool.query(
    `insert into runs (run_id, tenant_id, project_id, session_id, backend_profile, launcher, execution_policy, status, terminal_status,
       labels, prompt_command_id, session_turn)
     select $1, s.tenant_id, coalesce($3, s.project_id), s.session_id, coalesce($4, s.backend_profile), 'process', $5, $6,
       case when $6 in ('completed', 'failed', 'blocked', 'cancelled') then $6 end, $7, 'cmd', case when $8 then null else 1 end
       from sessions s where s.session_id = $2`,
    [
      runId,
      sessionId,
      row.projectId ?? null,
      row.backendProfile ?? null,
      JSON.stringify(executionPolicySchema.parse({})),
      status,
      JSON.stringify(row.labels ?? {}),
      row.queued === true,
    ],
  );
  return runId;
}

/** Stores a runner of a session, with its tenant. */
export async function storeRunner(
  pool: Pool,
  sessionId: string,
  row: { jobName: string; state?: string; createdAt?: string },
): Promise<string> {
  await pool.query(
    `insert into runners (job_name, tenant_id, session_id, backend_profile, launcher, fingerprint, state, idle_timeout_ms, expires_at,
       created_at)
     select $1, s.tenant_id, s.session_id, s.backend_profile, 'process', 'f', $3, 0, now() + interval '1 day',
       coalesce($4::timestamptz, now())
       from sessions s where s.session_id = $2`,
    [row.jobName, sessionId, row.state ?? 'serving', row.createdAt ?? null],
  );
  return row.jobName;
}
