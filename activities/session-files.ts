import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { SessionStorage } from '../infra/storage/session-storage.js';
import type { Pool } from '../store/pool.js';
import { type FilesFacts, findFilesFacts } from '../store/session-files.js';
import { discardIfMarked, noteStorageMeasured } from '../store/session-storage.js';

/**
 * Before a launch: files that were there and are not any more are a failed attempt, never an empty workspace (architecture.md 7). A later attempt finds
 * them again when only their disk was away.
 *
 * @throws ApplicationFailure `storage-unavailable`.
 */
export async function requireFiles(pool: Pool, storage: SessionStorage, facts: FilesFacts): Promise<void> {
  const { sessionId } = facts;
  if (!facts.hadRunner || (await storage.exists(sessionId))) return;
  await noteStorageMeasured(pool, sessionId, { phase: 'Lost', sizeBytes: 0, filesCount: 0, sha256: null });
  throw ApplicationFailure.nonRetryable(
    `the files of session ${sessionId} are not there: bring its disk back, or use a new session`,
    'storage-unavailable',
  );
}

/**
 * After a step that makes folders, which may have stood still in between (a frozen machine): when the session was evicted or deleted meanwhile, what the
 * step made is taken away again, and the answer is false. A new session of the same id keeps what is there.
 */
export async function areStillWanted(
  pool: Pool,
  storage: SessionStorage,
  before: FilesFacts,
): Promise<boolean> {
  const { sessionId, generation } = before;
  const now = await findFilesFacts(pool, sessionId);
  if (now === undefined) {
    // Whose they are cannot be told apart from a session that is made at this moment, so nothing with content is touched.
    if (!(await storage.removeEmpty(sessionId)))
      Context.current().log.error('files are left of a session that is deleted', { sessionId });
    return false;
  }
  if (now.generation !== generation) return false;
  if (!now.isToBeRemoved) return true;
  await discardIfMarked(pool, before, () => storage.discard(sessionId, generation));
  await storage.removeDiscarded(sessionId, generation, Context.current().cancellationSignal);
  return false;
}
