import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import { idPrefixes } from '../contract/ids.js';
import type {
  CreateSession,
  EnsuredSession,
  ReadMark,
  SessionRecord,
  SessionSummary,
} from '../contract/sessions.js';
import { attentionOf, executionStateOf } from '../domain/session-state.js';
import { newId } from './new-id.js';
import { type Pool, type Queryable, type Transaction, withTransaction } from './pool.js';
import { isoTime, parseSession, sessionColumns } from './records.js';
import { storableJson } from './storable-json.js';

const notFound = (sessionId: string) => new AgentRunError('not-found', `session ${sessionId} does not exist`);
const json = (value: unknown) => (value === undefined ? null : storableJson(value));

/** @throws AgentRunError `not-found`, also for a session of another tenant. */
export async function getSession(
  db: Queryable,
  sessionId: string,
  tenantId?: string,
): Promise<SessionRecord> {
  const session = await findSession(db, sessionId);
  if (session === undefined || (tenantId !== undefined && session.tenantId !== tenantId))
    throw notFound(sessionId);
  return session;
}

/** A session whoever it belongs to, or undefined. */
export async function findSession(db: Queryable, sessionId: string): Promise<SessionRecord | undefined> {
  const found = await db.query(`select ${sessionColumns} from sessions s where s.session_id = $1`, [
    sessionId,
  ]);
  return found.rows.length === 0 ? undefined : parseSession(found.rows[0]);
}

/**
 * Creates a session or answers the one that exists (contract.md 3.3; decisions.md, tenants).
 *
 * @throws AgentRunError `session-store-evicted`; `conflict` when it belongs to another project or profile; `not-found` when to another
 * tenant, which is not told that it exists.
 */
export async function ensureSession(pool: Pool, body: CreateSession): Promise<EnsuredSession> {
  return withTransaction(pool, (tx) => ensureSessionIn(tx, body));
}

/** As {@link ensureSession}, inside a transaction. */
export async function ensureSessionIn(
  tx: Transaction,
  body: CreateSession & { threadId?: string | null },
): Promise<EnsuredSession> {
  const sessionId = body.sessionId ?? newId(idPrefixes.session);
  const inserted = await tx.query(
    `insert into sessions as s (session_id, tenant_id, project_id, backend_profile, conversation_id, thread_id, codex_rollout_subdir,
       workspace, execution_policy, labels, metadata, storage_kind, storage_backend, storage_pvc_name, storage_pvc_phase, expires_at)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'pvc', 'directory', 'agentrun-session-' || $1, 'Bound',
       coalesce($12::timestamptz, now() + interval '30 days'))
     on conflict (session_id) do nothing
     returning ${sessionColumns}`,
    [
      sessionId,
      body.tenantId,
      body.projectId,
      body.backendProfile,
      body.conversationId ?? null,
      body.threadId ?? null,
      body.codexRolloutSubdir,
      json(body.workspace),
      storableJson(body.executionPolicy ?? {}),
      storableJson(body.labels ?? {}),
      storableJson(body.metadata ?? {}),
      body.expiresAt ?? null,
    ],
  );
  if (inserted.rows.length > 0) {
    const session = parseSession(inserted.rows[0]);
    return { action: 'session-created', session, pvc: pvcOf(session), valuesPrinted: false };
  }
  return existingSession(tx, sessionId, body);
}

async function existingSession(
  tx: Transaction,
  sessionId: string,
  body: CreateSession,
): Promise<EnsuredSession> {
  const session = await getSession(tx, sessionId, body.tenantId);
  if (session.projectId !== body.projectId) {
    throw new AgentRunError('conflict', `projectId: session ${sessionId} belongs to another project`);
  }
  if (session.backendProfile !== body.backendProfile) {
    throw new AgentRunError(
      'conflict',
      `backendProfile: session ${sessionId} runs on ${session.backendProfile}`,
    );
  }
  if (session.storageKind === 'evicted') {
    throw new AgentRunError(
      'session-store-evicted',
      `the storage of session ${sessionId} was evicted; use a new session id`,
    );
  }
  if (session.storageKind === 'none' || session.storagePvcName === null) {
    const recovered = await tx.query(
      `update sessions s set storage_kind = 'pvc', storage_backend = 'directory', storage_pvc_name = 'agentrun-session-' || session_id,
         storage_pvc_phase = 'Bound', updated_at = now() where session_id = $1 returning ${sessionColumns}`,
      [sessionId],
    );
    const pvc = pvcOf(parseSession(recovered.rows[0]));
    return { action: 'session-storage-recovered', session, pvc, valuesPrinted: false };
  }
  return {
    action: 'session-exists',
    session,
    pvcName: session.storagePvcName,
    pvcPhase: session.storagePvcPhase,
    codexRolloutSubdir: session.codexRolloutSubdir,
    valuesPrinted: false,
  };
}

function pvcOf(session: SessionRecord) {
  return {
    pvcName: session.storagePvcName,
    pvcPhase: session.storagePvcPhase,
    storageBackend: session.storageBackend,
    codexRolloutSubdir: session.codexRolloutSubdir,
    valuesPrinted: false as const,
  };
}

const summaryRowSchema = z.object({
  active_status: z.string().nullable(),
  last_status: z.string().nullable(),
  last_terminal: z.string().nullable(),
  last_failure: z.string().nullable(),
  unread: z.boolean(),
  needs_input: z.boolean(),
  queued_turns: z.number(),
  last_activity_at: z.string().nullable(),
});

/**
 * A session as one reader sees it (contract.md 3.1).
 *
 * @throws AgentRunError `not-found`, also for a session of another tenant.
 */
export async function getSessionSummary(
  db: Queryable,
  sessionId: string,
  readerId: string,
  tenantId?: string,
): Promise<SessionSummary> {
  const session = await getSession(db, sessionId, tenantId);
  const found = await db.query(
    `select a.status as active_status, l.status as last_status, l.terminal_status as last_terminal, l.failure_kind as last_failure,
       l.finished_at is not null and (m.read_at is null or m.read_at < l.finished_at) as unread,
       exists (select 1 from agent_requests q where q.run_id = a.run_id and q.state = 'pending') as needs_input,
       (select count(*)::int from runs q where q.session_id = s.session_id and q.terminal_status is null
          and q.session_turn is null and q.prompt_command_id is not null)
         + (select count(*)::int from commands c where c.session_id = s.session_id and c.steer_delivery = 'next-turn'
          and c.next_command_id is null) as queued_turns,
       ${isoTime('greatest(s.last_activity_at, g.last_event_at)')} as last_activity_at
     from sessions s
     left join runs a on a.run_id = s.active_run_id and a.terminal_status is null
     left join runs l on l.run_id = s.last_run_id
     left join run_log g on g.run_id = s.last_run_id
     left join session_reads m on m.session_id = s.session_id and m.reader_id = $2
     where s.session_id = $1`,
    [sessionId, readerId],
  );
  const row = summaryRowSchema.parse(found.rows[0]);
  const executionState = executionStateOf({
    evicted: session.storageKind === 'evicted',
    activeRunStatus: row.active_status,
    needsInput: row.needs_input,
    queuedTurns: row.queued_turns,
  });
  return {
    ...session,
    executionState,
    attentionState: attentionOf({
      executionState,
      lastTerminalStatus: row.last_terminal,
      unread: row.unread,
    }),
    active: row.active_status !== null,
    sessionPath: `/api/v1/sessions/${encodeURIComponent(sessionId)}`,
    queuedTurns: row.queued_turns,
    terminalStatus: row.last_terminal,
    failureKind: row.last_failure,
    lastActivityAt: row.last_activity_at,
  };
}

/** The reader has seen everything up to now. A repeat moves the mark. */
export async function markSessionRead(
  db: Queryable,
  sessionId: string,
  readerId: string,
  tenantId?: string,
): Promise<ReadMark> {
  const session = await getSession(db, sessionId, tenantId);
  const marked = await db.query<{ read_at: string }>(
    `insert into session_reads (session_id, reader_id, run_id) values ($1, $2, $3)
     on conflict (session_id, reader_id) do update set run_id = excluded.run_id, read_at = now()
     returning ${isoTime('read_at')} as read_at`,
    [sessionId, readerId, session.lastRunId],
  );
  return { sessionId, readerId, runId: session.lastRunId, readAt: marked.rows[0]?.read_at ?? '' };
}
