import type { SessionRecord } from '../contract/sessions.js';
import { busySession, closeIdleRunners, lockSession, unknownSession } from './idle-session.js';
import { type Pool, withTransaction } from './pool.js';
import { getSession } from './sessions.js';

/** The session after it, and the runners that were told to go. */
export interface ArchivedSession {
  readonly session: SessionRecord;
  readonly closingJobs: readonly string[];
}

/**
 * Puts a session aside: it takes no message until it is unarchived, and its idle runner is told to close. A repeat keeps the first time.
 *
 * @throws AgentRunError `session-busy` while a turn is active or queued; `not-found`, also for a session of another tenant.
 */
export async function archiveSession(
  pool: Pool,
  sessionId: string,
  tenantId?: string,
): Promise<ArchivedSession> {
  return withTransaction(pool, async (tx) => {
    const { isDeleted, isArchived, isBusy } = await lockSession(tx, sessionId, tenantId);
    if (isDeleted) throw unknownSession(sessionId);
    if (isBusy && !isArchived) throw busySession(sessionId);
    if (!isArchived) {
      await tx.query('update sessions set archived_at = now(), updated_at = now() where session_id = $1', [
        sessionId,
      ]);
    }
    const closingJobs = await closeIdleRunners(tx, sessionId);
    return { session: await getSession(tx, sessionId), closingJobs };
  });
}

/**
 * Takes an archived session back; one that is not archived is left as it is.
 *
 * @throws AgentRunError `not-found`, also for a session of another tenant.
 */
export async function unarchiveSession(
  pool: Pool,
  sessionId: string,
  tenantId?: string,
): Promise<SessionRecord> {
  return withTransaction(pool, async (tx) => {
    await getSession(tx, sessionId, tenantId);
    await tx.query(
      'update sessions set archived_at = null, updated_at = now() where session_id = $1 and archived_at is not null and deleted_at is null',
      [sessionId],
    );
    return getSession(tx, sessionId, tenantId);
  });
}
