import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import {
  type MadePhase,
  type SessionStorage,
  StorageRefusedError,
} from '../infra/storage/session-storage.js';
import type { Pool } from '../store/pool.js';
import { type FilesFacts, findFilesFacts } from '../store/session-files.js';
import { discardIfMarked, noteStorageMeasured, noteStoragePhase } from '../store/session-storage.js';

/**
 * Before a launch: a runner finds the storage of its session. Files that were there and are not any more are a failed attempt, never an empty workspace
 * (architecture.md 7). A later attempt finds them again when only their disk was away.
 *
 * @throws ApplicationFailure `storage-unavailable`.
 */
export async function prepareFiles(
  pool: Pool,
  storage: SessionStorage,
  facts: FilesFacts,
): Promise<MadePhase> {
  const { sessionId } = facts;
  try {
    requireBackend(storage, facts);
    if (!facts.hadRunner || (await storage.exists(sessionId))) return await makeFiles(storage, facts);
  } catch (error) {
    throw error instanceof StorageRefusedError ? unavailable(error.message) : error;
  }
  // What was measured of a volume is of the files that are looked for now: an operator wants to know it.
  if (storage.backend === 'pvc') await noteStoragePhase(pool, sessionId, 'Lost');
  else
    await noteStorageMeasured(pool, sessionId, { phase: 'Lost', sizeBytes: 0, filesCount: 0, sha256: null });
  throw unavailable(
    `the files of session ${sessionId} are not there: bring its disk back, or use a new session`,
  );
}

/** Makes the session's storage where it is not there. @throws StorageRefusedError. */
export async function makeFiles(storage: SessionStorage, facts: FilesFacts): Promise<MadePhase> {
  requireBackend(storage, facts);
  return storage.ensure(facts.sessionId, facts.generation);
}

/** The files of a session stay where they were made. @throws StorageRefusedError when this worker would look elsewhere. */
export function requireBackend(storage: SessionStorage, { sessionId, backend }: FilesFacts): void {
  if (backend === null || backend === storage.backend) return;
  const words = { pvc: 'on a volume of a cluster', directory: 'in a directory' };
  throw new StorageRefusedError(
    `session ${sessionId} keeps its files ${words[backend]}, this worker looks for them ${words[storage.backend]}: correct AGENTRUN_SESSION_STORAGE of the API or AGENTRUN_LAUNCHER of the worker`,
  );
}

const unavailable = (message: string) => ApplicationFailure.nonRetryable(message, 'storage-unavailable');

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
    // A session of the same id may be made at this moment: nothing of that one is touched.
    if (!(await storage.removeEmpty(sessionId, generation)))
      Context.current().log.error('files are left of a session that is deleted', { sessionId });
    return false;
  }
  if (now.generation !== generation) return false;
  if (!now.isToBeRemoved) return true;
  requireBackend(storage, now);
  await discardIfMarked(pool, before, () => storage.discard(sessionId, generation));
  await storage.removeDiscarded(sessionId, generation, Context.current().cancellationSignal);
  return false;
}
