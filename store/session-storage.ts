import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { StorageSummary } from '../contract/storage.js';
import { storageSummarySchema } from '../contract/storage.js';
import {
  busySession,
  closeIdleRunners,
  generationOf,
  lockSession,
  type SessionGeneration,
  sessionBusySql,
  unknownSession,
} from './idle-session.js';
import { type Pool, type Queryable, type Transaction, withTransaction } from './pool.js';
import { isoTime } from './records.js';
import { sessionExpiry } from './session-expiry.js';
import { endQueuedTasks } from './session-tasks.js';

/**
 * The phase of a volume that is there while the pod of the active turn waits for it, in the words of the cluster: `MultiAttach` when another node still has
 * it, else `Attaching`. Else the phase that is recorded.
 */
const phaseSql = `(case when s.storage_backend = 'pvc' and s.storage_pvc_phase = 'Bound' then coalesce(
    (select case when j.pod_message ilike '%multi-attach%' then 'MultiAttach' else 'Attaching' end
       from runs r join runner_jobs j on j.run_id = r.run_id and j.epoch = r.current_epoch
      where r.run_id = s.active_run_id and r.terminal_status is null and j.pod_wait = 'volume'), s.storage_pvc_phase)
  else s.storage_pvc_phase end)`;

/**
 * The storage of a session as it is recorded (contract.md 3.9).
 *
 * @throws AgentRunError `not-found`, also for a session of another tenant.
 */
export async function getStorageSummary(
  db: Queryable,
  sessionId: string,
  tenantId?: string,
): Promise<StorageSummary> {
  const found = await db.query(
    `select session_id as "sessionId", storage_kind as "storageKind", storage_backend as "storageBackend", storage_pvc_name as "pvcName",
       storage_namespace as namespace, ${phaseSql} as "pvcPhase", storage_size_bytes as "storageSizeBytes",
       storage_files_count as "storageFilesCount", storage_sha256 as "storageSha256",
       ${isoTime('storage_updated_at')} as "storageUpdatedAt", codex_rollout_subdir as "codexRolloutSubdir",
       ${isoTime(sessionExpiry('s'))} as "expiresAt", false as "valuesPrinted"
     from sessions s where session_id = $1 and deleted_at is null and ($2::text is null or tenant_id = $2)`,
    [sessionId, tenantId ?? null],
  );
  if (found.rows.length === 0) throw unknownSession(sessionId);
  return storageSummarySchema.parse(found.rows[0]);
}

/** The error for whatever needs the files of a session that has none any more. */
export const storageEvicted = (sessionId: string) =>
  new AgentRunError(
    'session-store-evicted',
    `the storage of session ${sessionId} was evicted; use a new session id`,
  );

/**
 * Whether the session's storage may be made or looked at.
 *
 * @throws AgentRunError `not-found`, `session-store-evicted`.
 */
export async function requireStorage(db: Queryable, sessionId: string): Promise<void> {
  const { storageKind } = await getStorageSummary(db, sessionId);
  if (storageKind === 'evicted') throw storageEvicted(sessionId);
}

/**
 * The storage is there: made, or found by a launch. `Provisioning`: a claim that gets its disk with the first runner; `Pending`, which is recorded before,
 * means that nothing is there. One that is evicted stays so.
 */
export async function noteStorageMade(
  db: Queryable,
  sessionId: string,
  phase: 'Provisioning' | 'Bound',
): Promise<void> {
  await db.query(
    `update sessions set storage_pvc_phase = $2, updated_at = now()
      where session_id = $1 and storage_kind = 'pvc' and storage_pvc_phase is distinct from $2 and deleted_at is null`,
    [sessionId, phase],
  );
}

/** What the control plane measured; `phase` `Lost` of a storage that was never made leaves it `Pending`. */
export interface MeasuredStorage {
  readonly phase: 'Bound' | 'Lost';
  readonly sizeBytes: number;
  readonly filesCount: number;
  readonly sha256: string | null;
}

/** A look that sees no files; what was measured before stays. As in {@link MeasuredStorage}, `Lost` after `Pending` is `Pending`. */
export async function noteStoragePhase(db: Queryable, sessionId: string, phase: string): Promise<void> {
  await db.query(
    `update sessions set updated_at = now(),
       storage_pvc_phase = case when $2 = 'Lost' and storage_pvc_phase = 'Pending' then 'Pending' else $2 end
      where session_id = $1 and storage_kind = 'pvc' and deleted_at is null`,
    [sessionId, phase],
  );
}

/** Records a look at the storage. */
export async function noteStorageMeasured(
  db: Queryable,
  sessionId: string,
  measured: MeasuredStorage,
): Promise<void> {
  await db.query(
    `update sessions set storage_size_bytes = $3, storage_files_count = $4, storage_sha256 = $5, storage_updated_at = now(), updated_at = now(),
       storage_pvc_phase = case when $2 = 'Lost' and storage_pvc_phase = 'Pending' then 'Pending' else $2 end
      where session_id = $1 and storage_kind = 'pvc' and deleted_at is null`,
    [sessionId, measured.phase, measured.sizeBytes, measured.filesCount, measured.sha256],
  );
}

/** A removal that has begun: no turn can begin from here on, and these runners are to be proven gone before the files go. */
export interface BegunRemoval {
  readonly jobNames: readonly string[];
  /** Of the session that is meant: every further step names it. */
  readonly generation: string;
}

/**
 * Decides an eviction and marks the session, in one transaction under its row lock: from here on it takes no message. A repeat answers the runners that
 * are left. With `onlyIfExpired` (garbage collection) an eviction that has not begun needs an `expiresAt` that has passed.
 *
 * @throws AgentRunError `session-busy` while a turn is active or queued; `conflict` when it has not expired; `not-found`.
 */
export async function beginEviction(
  pool: Pool,
  sessionId: string,
  options: { readonly onlyIfExpired: boolean },
): Promise<BegunRemoval> {
  return withTransaction(pool, async (tx) => {
    const session = await lockSession(tx, sessionId);
    if (session.isDeleted) throw unknownSession(sessionId);
    if (!session.isEvicted) {
      if (options.onlyIfExpired && !session.hasExpired)
        throw new AgentRunError('conflict', `session ${sessionId} has not expired`);
      if (session.isBusy) throw busySession(sessionId);
      await tx.query(
        `update sessions set storage_kind = 'evicted', storage_pvc_phase = 'Terminating', updated_at = now() where session_id = $1`,
        [sessionId],
      );
    }
    return runnersToEnd(tx, sessionId, session.generation);
  });
}

/**
 * As {@link beginEviction} for a deletion: from here on the session does not exist for callers. A queue task that is under way is as good as a turn: it
 * reads what became of it from rows that the deletion takes. One that was not dispatched yet is cancelled.
 *
 * @throws AgentRunError `session-busy`, `not-found`.
 */
export async function beginDeletion(pool: Pool, sessionId: string): Promise<BegunRemoval> {
  return withTransaction(pool, async (tx) => {
    const session = await lockSession(tx, sessionId);
    if (!session.isDeleted) {
      if (session.isBusy) throw busySession(sessionId);
      if (session.hasTask)
        throw new AgentRunError('session-busy', `session ${sessionId}: a queue task of it is not over`);
      await tx.query(
        `update sessions set deleted_at = now(), storage_kind = 'evicted', storage_pvc_phase = 'Terminating', updated_at = now()
          where session_id = $1`,
        [sessionId],
      );
      await endQueuedTasks(tx, sessionId);
    }
    return runnersToEnd(tx, sessionId, session.generation);
  });
}

async function runnersToEnd(tx: Transaction, sessionId: string, generation: string): Promise<BegunRemoval> {
  // When it was last tried: garbage collection begins with what has waited longest.
  await tx.query('update sessions set updated_at = now() where session_id = $1', [sessionId]);
  await closeIdleRunners(tx, sessionId);
  // Runners that somebody else starts have storage of their own.
  const found = await tx.query<{ job_name: string }>(
    `select job_name from runners where session_id = $1 and state <> 'gone' and launcher <> 'external' order by job_name`,
    [sessionId],
  );
  return { jobNames: found.rows.map((row) => row.job_name), generation };
}

/**
 * Takes the session's files aside while its row is held: only when an eviction or a deletion of this generation of it has begun, so that nobody makes a new
 * session of its id meanwhile. `discard` is short.
 */
export async function discardIfMarked(
  pool: Pool,
  { sessionId, generation }: SessionGeneration,
  discard: () => Promise<void>,
): Promise<void> {
  await withTransaction(pool, async (tx) => {
    const marked = await tx.query(
      `select 1 from sessions s where s.session_id = $1 and ${generationOf('s')} = $2 and s.storage_kind = 'evicted' for no key update`,
      [sessionId, generation],
    );
    if (marked.rows.length > 0) await discard();
  });
}

/** The files are gone. */
export async function noteStorageRemoved(
  db: Queryable,
  { sessionId, generation }: SessionGeneration,
): Promise<void> {
  await db.query(
    `update sessions s set storage_pvc_phase = null, storage_size_bytes = 0, storage_files_count = 0, storage_sha256 = null,
       storage_updated_at = now(), updated_at = now()
      where session_id = $1 and ${generationOf('s')} = $2 and storage_kind = 'evicted' and storage_pvc_phase is not null`,
    [sessionId, generation],
  );
}

/** A session that a cycle of garbage collection looks at. */
const expiredSchema = z.object({
  sessionId: z.string(),
  tenantId: z.string(),
  projectId: z.string(),
  /** Its deletion has begun and is to be brought to its end. */
  isDeleted: z.boolean(),
});
export type ExpiredSession = z.infer<typeof expiredSchema>;

/** What one cycle of garbage collection has before it. */
export interface ExpiredSessions {
  readonly toRemove: readonly ExpiredSession[];
  /** Expired, but with a turn that is active or queued: reported, bounded. */
  readonly busy: readonly string[];
  readonly hasMore: boolean;
}

/**
 * Sessions whose `expiresAt` has passed and that have storage and nothing to do, and those whose eviction or deletion was begun and not finished: by turns, so
 * that neither keeps the other from being looked at; of each those first that have waited longest, since they expired or were last tried. At most `limit`.
 */
export async function listExpiredSessions(
  db: Queryable,
  options: { readonly tenantId: string | null; readonly limit: number },
): Promise<ExpiredSessions> {
  const columns = `s.session_id as "sessionId", s.tenant_id as "tenantId", s.project_id as "projectId", s.deleted_at is not null as "isDeleted"`;
  const ofTenant = '($1::text is null or s.tenant_id = $1)';
  // The column alone, which has an index, finds too much: sessions that are in use past the 30 days.
  const expired = `s.storage_kind = 'pvc' and s.expires_at <= now() and ${sessionExpiry('s')} <= now() and s.deleted_at is null`;
  const [begun, idle, busy] = [
    await db.query(
      `select ${columns} from sessions s where (s.deleted_at is not null or (s.storage_kind = 'evicted' and s.storage_pvc_phase is not null))
          and ${ofTenant} order by s.updated_at limit $2`,
      [options.tenantId, options.limit + 1],
    ),
    await db.query(
      `select ${columns} from sessions s where ${expired} and ${ofTenant} and not ${sessionBusySql} order by s.expires_at limit $2`,
      [options.tenantId, options.limit + 1],
    ),
    await db.query<{ session_id: string }>(
      `select s.session_id from (select * from sessions s where ${expired} and ${ofTenant} order by s.expires_at limit 1000) s
        where ${sessionBusySql} limit $2`,
      [options.tenantId, options.limit],
    ),
  ];
  const rows = z.array(expiredSchema);
  const found = byTurns(rows.parse(begun.rows), rows.parse(idle.rows));
  return {
    toRemove: found.slice(0, options.limit),
    busy: busy.rows.map((row) => row.session_id),
    hasMore: found.length > options.limit,
  };
}

/** The elements of both lists, one of each after another. */
function byTurns<T>(left: readonly T[], right: readonly T[]): T[] {
  const longer = Math.max(left.length, right.length);
  return Array.from({ length: longer }, (_, index) => [
    ...left.slice(index, index + 1),
    ...right.slice(index, index + 1),
  ]).flat();
}

/**
 * The session that is to be deleted, also one whose deletion has begun: a repeat goes on with it.
 *
 * @throws AgentRunError `not-found`, also for a session of another tenant.
 */
export async function findSessionToDelete(
  db: Queryable,
  sessionId: string,
  tenantId?: string,
): Promise<{ sessionId: string; tenantId: string; projectId: string }> {
  const found = await db.query<{ tenant_id: string; project_id: string }>(
    'select tenant_id, project_id from sessions where session_id = $1 and ($2::text is null or tenant_id = $2)',
    [sessionId, tenantId ?? null],
  );
  const row = found.rows[0];
  if (row === undefined) throw unknownSession(sessionId);
  return { sessionId, tenantId: row.tenant_id, projectId: row.project_id };
}
