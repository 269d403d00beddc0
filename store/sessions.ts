import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import { idPrefixes } from '../contract/ids.js';
import {
  type CreateSession,
  type EnsuredSession,
  ensuredSessionSchema,
  type ReadMark,
  type SessionRecord,
  type SessionSummary,
} from '../contract/sessions.js';
import { bodyHash, once, storedAnswer } from './idempotency.js';
import { newId } from './new-id.js';
import type { Pool, Queryable, Transaction } from './pool.js';
import { isoTime, parseSession, sessionColumns } from './records.js';
import { parseSummary, summaryColumns, summaryFrom } from './session-summaries.js';
import { storableJson } from './storable-json.js';
import { directories, type StoragePlace, storageColumns } from './storage-place.js';

const notFound = (sessionId: string) => new AgentRunError('not-found', `session ${sessionId} does not exist`);

/** The error for a session of another tenant than the one that was named. A caller who is bound to a tenant is not told whose it is. */
export function ofOtherTenant(
  { sessionId, tenantId }: Pick<SessionRecord, 'sessionId' | 'tenantId'>,
  maySeeAllTenants: boolean,
): AgentRunError {
  return maySeeAllTenants
    ? new AgentRunError('conflict', `tenantId: session ${sessionId} belongs to tenant ${tenantId}`)
    : new AgentRunError('not-found', `sessionId: ${sessionId} cannot be used; choose another`);
}

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

/** A session whoever it belongs to, or undefined; also for one that is being deleted. */
export async function findSession(db: Queryable, sessionId: string): Promise<SessionRecord | undefined> {
  const found = await db.query(
    `select ${sessionColumns} from sessions s where s.session_id = $1 and s.deleted_at is null`,
    [sessionId],
  );
  return found.rows.length === 0 ? undefined : parseSession(found.rows[0]);
}

export interface EnsureOptions {
  readonly maySeeAllTenants?: boolean;
  /** Of a session that is new, or has no storage; default: a directory. */
  readonly storage?: StoragePlace;
}

/**
 * Creates a session or answers the one that exists (contract.md 3.3; decisions.md, tenants). The storage of a new one is `Pending`: it is made by the
 * workflow of the storage, or by the first launch. One whose storage was never made is answered as recovered, and to be made likewise.
 *
 * @throws AgentRunError `session-store-evicted`; `conflict` when it belongs to another project or profile, or is being deleted; when to another tenant,
 * `conflict` for who may see all tenants, else `not-found`, which tells nothing but that this id cannot be had. The same key answers the first answer.
 */
export async function ensureSession(
  pool: Pool,
  body: CreateSession,
  key: string | null,
  more: EnsureOptions = {},
): Promise<{ ensured: EnsuredSession; replayed: boolean }> {
  const scope = key === null ? undefined : { tenantId: body.tenantId, route: 'POST /api/v1/sessions', key };
  const { answer, replayed } = await once(pool, scope, bodyHash(body), (tx) =>
    ensureSessionIn(tx, body, more),
  );
  const ensured = await storedAnswer(ensuredSessionSchema, answer, async () => {
    const { session } = sessionAnswerSchema.parse(answer);
    const now = await getSession(pool, session.sessionId, body.tenantId);
    return { session: now, pvc: pvcOf(now), ...pvcOf(now) };
  });
  return { ensured, replayed };
}

const sessionAnswerSchema = z.object({ session: z.object({ sessionId: z.string() }) });

/** As {@link ensureSession}, inside a transaction. */
export async function ensureSessionIn(
  tx: Transaction,
  body: CreateSession & { threadId?: string | null },
  more: EnsureOptions = {},
): Promise<EnsuredSession> {
  const sessionId = body.sessionId ?? newId(idPrefixes.session);
  const storage = storageColumns(sessionId, more.storage ?? directories);
  const inserted = await tx.query(
    `insert into sessions as s (session_id, tenant_id, project_id, backend_profile, conversation_id, thread_id, codex_rollout_subdir,
       workspace, execution_policy, labels, metadata, storage_kind, storage_backend, storage_pvc_name, storage_namespace,
       storage_pvc_phase, expires_at, expires_at_chosen)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'pvc', $13, $14, $15, 'Pending',
       coalesce($12::timestamptz, now() + interval '30 days'), $12::timestamptz is not null)
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
      storage.backend,
      storage.pvcName,
      storage.namespace,
    ],
  );
  if (inserted.rows.length > 0) {
    const session = parseSession(inserted.rows[0]);
    return { action: 'session-created', session, pvc: pvcOf(session), valuesPrinted: false };
  }
  return existingSession(tx, sessionId, body, more);
}

async function existingSession(
  tx: Transaction,
  sessionId: string,
  body: CreateSession,
  more: EnsureOptions,
): Promise<EnsuredSession> {
  await requireNotDeleted(tx, sessionId, body.tenantId);
  const session = await getSession(tx, sessionId);
  if (session.tenantId !== body.tenantId) throw ofOtherTenant(session, more.maySeeAllTenants === true);
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
    const { backend, pvcName, namespace } = storageColumns(sessionId, more.storage ?? directories);
    const recovered = await tx.query(
      `update sessions s set storage_kind = 'pvc', storage_backend = $2, storage_pvc_name = $3, storage_namespace = $4,
         storage_pvc_phase = 'Pending', updated_at = now() where session_id = $1 and deleted_at is null returning ${sessionColumns}`,
      [sessionId, backend, pvcName, namespace],
    );
    if (recovered.rows.length === 0) throw notFound(sessionId);
    return storageRecovered(parseSession(recovered.rows[0]));
  }
  // Made by a send, or by a creation that was told that Temporal is away.
  if (session.storagePvcPhase === 'Pending') return storageRecovered(session);
  return {
    action: 'session-exists',
    session,
    pvcName: session.storagePvcName,
    pvcPhase: session.storagePvcPhase,
    codexRolloutSubdir: session.codexRolloutSubdir,
    valuesPrinted: false,
  };
}

function storageRecovered(session: SessionRecord): EnsuredSession {
  return { action: 'session-storage-recovered', session, pvc: pvcOf(session), valuesPrinted: false };
}

/** The id is free again when the last row is gone. */
async function requireNotDeleted(tx: Transaction, sessionId: string, tenantId: string): Promise<void> {
  const found = await tx.query(
    'select 1 from sessions where session_id = $1 and tenant_id = $2 and deleted_at is not null',
    [sessionId, tenantId],
  );
  if (found.rows.length > 0)
    throw new AgentRunError('conflict', `session ${sessionId} is being deleted; try again in a moment`);
}

/** The storage of a session as the answer of a creation shows it. */
export function pvcOf(session: SessionRecord) {
  return {
    pvcName: session.storagePvcName,
    pvcPhase: session.storagePvcPhase,
    storageBackend: session.storageBackend,
    codexRolloutSubdir: session.codexRolloutSubdir,
    valuesPrinted: false as const,
  };
}

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
  const found = await db.query(
    `select ${summaryColumns} from ${summaryFrom('$2')}
      where s.session_id = $1 and s.deleted_at is null and ($3::text is null or s.tenant_id = $3)`,
    [sessionId, readerId, tenantId ?? null],
  );
  if (found.rows.length === 0) throw notFound(sessionId);
  return parseSummary(found.rows[0]);
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
