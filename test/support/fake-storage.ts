import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkflowGateway } from '../../api/workflow-gateway.js';
import { AgentRunError } from '../../contract/errors.js';
import { DirectoryStorage } from '../../infra/storage/directory-storage.js';
import { markRunnerGone } from '../../store/attempts.js';
import { deleteSessionStep } from '../../store/delete-session.js';
import type { Pool } from '../../store/pool.js';
import {
  type BegunRemoval,
  beginDeletion,
  beginEviction,
  discardIfMarked,
  listExpiredSessions,
  noteStorageMade,
  noteStorageMeasured,
  noteStorageRemoved,
  requireStorage,
} from '../../store/session-storage.js';

let folder: string | undefined;

/** The data folder of the fake gateways of this process. */
export function storageDataDir(): string {
  if (folder === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'agentrun-storage-'));
    process.once('exit', () => rmSync(made, { recursive: true, force: true }));
    folder = made;
  }
  return folder;
}

/** The storage part of a gateway without Temporal: the real steps on real folders, one after another, to their end. */
export function fakeStorageGateway(
  pool: Pool,
): Pick<
  WorkflowGateway,
  'ensureStorage' | 'refreshStorage' | 'evictStorage' | 'deleteSession' | 'collectStorage'
> {
  const storage = new DirectoryStorage(storageDataDir());
  const removeFiles = async (sessionId: string, { jobNames, generation }: BegunRemoval) => {
    for (const jobName of jobNames) await markRunnerGone(pool, jobName);
    await discardIfMarked(pool, { sessionId, generation }, () => storage.discard(sessionId, generation));
    await storage.removeDiscarded(sessionId, generation);
    await noteStorageRemoved(pool, { sessionId, generation });
  };
  const deleteSession = async (sessionId: string) => {
    const begun = await beginDeletion(pool, sessionId);
    const session = { sessionId, generation: begun.generation };
    await removeFiles(sessionId, begun);
    while ((await deleteSessionStep(pool, session)) === 'more');
  };
  const evict = async (sessionId: string, onlyIfExpired: boolean) =>
    removeFiles(sessionId, await beginEviction(pool, sessionId, { onlyIfExpired }));
  return {
    ensureStorage: async ({ sessionId }) => {
      await requireStorage(pool, sessionId);
      await noteStorageMade(pool, sessionId, await storage.ensure(sessionId));
    },
    refreshStorage: async ({ sessionId }) => {
      await requireStorage(pool, sessionId);
      await noteStorageMeasured(pool, sessionId, await storage.measure(sessionId));
    },
    evictStorage: ({ sessionId }) => evict(sessionId, false),
    deleteSession: ({ sessionId }) => deleteSession(sessionId),
    collectStorage: async (tenantId) => {
      const { toRemove, busy, hasMore } = await listExpiredSessions(pool, { tenantId, limit: 200 });
      const deleted: string[] = [];
      const kept = busy.map((sessionId) => ({ sessionId, reason: 'a turn is active or queued' }));
      const failed: { sessionId: string; reason: string }[] = [];
      for (const { sessionId, isDeleted } of toRemove) {
        try {
          await (isDeleted ? deleteSession(sessionId) : evict(sessionId, true));
          deleted.push(sessionId);
        } catch (error) {
          const list = error instanceof AgentRunError ? kept : failed;
          list.push({ sessionId, reason: error instanceof Error ? error.message : String(error) });
        }
      }
      return { examined: toRemove.length + busy.length, kept, deleted, failed, hasMore };
    },
  };
}
