import { Context } from '@temporalio/activity';
import { type Client, WithStartWorkflowOperation, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { RequestFailureKind } from '../contract/failure-kinds.js';
import { mainTaskQueue, sessionStorageWorkflowId } from '../domain/workflow-ids.js';
import { type SessionStorage, StorageRefusedError } from '../infra/storage/session-storage.js';
import { deleteSessionStep } from '../store/delete-session.js';
import type { Pool } from '../store/pool.js';
import { findFilesFacts } from '../store/session-files.js';
import {
  discardIfMarked,
  type ExpiredSession,
  listExpiredSessions,
  noteStorageMade,
  noteStorageMeasured,
  noteStoragePhase,
  noteStorageRemoved,
  requireStorage,
  storageEvicted,
} from '../store/session-storage.js';
import {
  type CollectedSession,
  deleteSessionUpdate,
  evictStorageUpdate,
  type RemovalAnswer,
  type SessionStorageInput,
  sessionAttributes,
  workflowTypes,
} from '../workflows/messages.js';
import { finalErrors } from './final-errors.js';
import type { StorageActivities } from './index.js';
import { heartbeating } from './runners.js';
import { areStillWanted, makeFiles, requireBackend } from './session-files.js';

/** For the question to one session's workflow, which answers after 2.5 s at the latest when workers are there. */
const longestCollectionMs = 8_000;

export interface StorageDependencies {
  readonly pool: Pool;
  readonly storage: SessionStorage;
  readonly client: Client;
}

/** The files of sessions, and the rows of deleted ones. Who may do what was decided before, under the session's lock. */
export function createStorageActivities({ pool, storage, client }: StorageDependencies): StorageActivities {
  /** A worker that keeps files elsewhere would find nothing, and take that for removed. */
  async function requireOwnBackend(sessionId: string): Promise<void> {
    const facts = await findFilesFacts(pool, sessionId);
    if (facts !== undefined) requireBackend(storage, facts);
  }

  return {
    ensureStorage: ({ sessionId }) =>
      finalErrors('ensureStorage', async () => {
        const facts = await findFilesFacts(pool, sessionId);
        await requireStorage(pool, sessionId);
        if (facts === undefined) throw storageEvicted(sessionId);
        const phase = await makeFiles(storage, facts).catch((error: unknown) => {
          if (!(error instanceof StorageRefusedError)) throw error;
          // The session is there all the same: its first launch tries again and says why it cannot begin.
          throw ApplicationFailure.nonRetryable(error.message, 'unavailable' satisfies RequestFailureKind);
        });
        if (!(await areStillWanted(pool, storage, facts))) throw storageEvicted(sessionId);
        await noteStorageMade(pool, sessionId, phase);
      }),

    measureStorage: ({ sessionId }) =>
      finalErrors('measureStorage', async () => {
        await requireStorage(pool, sessionId);
        await requireOwnBackend(sessionId);
        const measured = await storage.measure(sessionId);
        if (!('sizeBytes' in measured)) {
          await noteStoragePhase(pool, sessionId, measured.phase);
          return;
        }
        if (!measured.isComplete || (measured.phase === 'Bound' && measured.sha256 === null))
          Context.current().log.warn('the look at a storage was cut off', {
            sessionId,
            sizeBytes: measured.sizeBytes,
            filesCount: measured.filesCount,
            isComplete: measured.isComplete,
          });
        await noteStorageMeasured(pool, sessionId, measured);
      }),

    removeStorage: async (session) => {
      const { sessionId, generation } = session;
      await requireOwnBackend(sessionId);
      // A step that stands still may go on when the id belongs to a new session: what takes long goes by the name of this one.
      await discardIfMarked(pool, session, () => storage.discard(sessionId, generation));
      await heartbeating(`removing the files of ${sessionId}`, () =>
        storage.removeDiscarded(sessionId, generation, Context.current().cancellationSignal),
      );
      await noteStorageRemoved(pool, session);
    },

    deleteSessionRows: async (session) => {
      await heartbeating(`deleting the rows of ${session.sessionId}`, async () => {
        while ((await deleteSessionStep(pool, session)) === 'more')
          Context.current().cancellationSignal.throwIfAborted();
      });
    },

    listExpiredSessions: (given) =>
      finalErrors('listExpiredSessions', () => listExpiredSessions(pool, given)),

    collectSession: (session) => collectSession(client, session),
  };
}

async function collectSession(client: Client, session: ExpiredSession): Promise<CollectedSession> {
  try {
    const { removed } = await client.withDeadline(Date.now() + longestCollectionMs, () =>
      removeBy(client, session),
    );
    return removed
      ? { outcome: 'deleted', reason: '' }
      : { outcome: 'kept', reason: 'its removal has begun and goes on' };
  } catch (error) {
    const failure = updateFailure(error);
    if (failure?.type === 'AcceptedUpdateCompletedWorkflow' || failure === undefined) throw error;
    const isDecided = ['session-busy', 'conflict', 'not-found'].includes(failure.type ?? '');
    return { outcome: isDecided ? 'kept' : 'failed', reason: failure.message };
  }
}

function removeBy(client: Client, session: ExpiredSession): Promise<RemovalAnswer> {
  const { sessionId, tenantId, projectId, isDeleted } = session;
  const input: SessionStorageInput = { sessionId, tenantId, projectId };
  const startWorkflowOperation = new WithStartWorkflowOperation(workflowTypes.sessionStorage, {
    workflowId: sessionStorageWorkflowId(sessionId),
    taskQueue: mainTaskQueue,
    args: [input],
    workflowIdConflictPolicy: 'USE_EXISTING',
    typedSearchAttributes: sessionAttributes(input),
    staticSummary: `storage of session ${sessionId}`,
  });
  return isDeleted
    ? client.workflow.executeUpdateWithStart(deleteSessionUpdate, { args: [], startWorkflowOperation })
    : client.workflow.executeUpdateWithStart(evictStorageUpdate, {
        args: [{ onlyIfExpired: true }],
        startWorkflowOperation,
      });
}

/** What the session's workflow refused the removal with; undefined when it could not be asked. */
function updateFailure(error: unknown): ApplicationFailure | undefined {
  if (!(error instanceof WorkflowUpdateFailedError)) return undefined;
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ApplicationFailure) return cause;
  }
  return undefined;
}
