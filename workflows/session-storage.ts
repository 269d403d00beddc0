import { HandlerUnfinishedPolicy } from '@temporalio/common';
import {
  allHandlersFinished,
  condition,
  continueAsNew,
  log,
  setCurrentDetails,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { RecordActivities } from '../activities/index.js';
import { createRecords, measures, removals, runners, storage } from './activity-proxies.js';
import { describeFailure } from './failures.js';
import {
  deleteSessionUpdate,
  ensureStorageUpdate,
  evictStorageUpdate,
  type RemovalAnswer,
  refreshStorageUpdate,
  type SessionStorageInput,
} from './messages.js';
import { StorageSteps } from './storage-steps.js';

type BegunRemoval = Awaited<ReturnType<RecordActivities['beginEviction']>>;

const defaultAnswerWithinMs = 2_500;
/** An execution that nobody asks for anything: its caller has gone between start and question. */
const longestWaitMs = 60_000;
/** A caller that is cut off by continue-as-new asks the next execution. */
const abandoned = { unfinishedPolicy: HandlerUnfinishedPolicy.ABANDON };

/**
 * Everything that is done to the storage of one session, one thing after another, so that it is never made while it is removed (docs/adr/0017). Whether
 * something may be removed is decided by Postgres under the session's row lock; from there on it is carried out, whoever waits. Who asks for what is
 * already waiting to be done joins it. Ends when nothing is left to do; the next request starts it again.
 */
export async function sessionStorageWorkflow(input: SessionStorageInput): Promise<void> {
  const { sessionId } = input;
  const records = createRecords();
  const steps = new StorageSteps();
  let updates = 0;
  let removing = 0;

  setHandler(
    ensureStorageUpdate,
    () => {
      updates += 1;
      return steps.join('make', () => storage.ensureStorage({ sessionId }));
    },
    abandoned,
  );
  setHandler(
    refreshStorageUpdate,
    () => {
      updates += 1;
      return steps.join('measure', () => measures.measureStorage({ sessionId }));
    },
    abandoned,
  );
  setHandler(evictStorageUpdate, ({ onlyIfExpired }) =>
    // Not behind what is under way: from the mark on nothing is made any more, and the removal comes after what is being made.
    remove(async () => {
      const begun = await records.beginEviction({ sessionId, onlyIfExpired });
      return steps.joinRemoval('evict', begun.generation, () => removeFiles(begun));
    }),
  );
  setHandler(deleteSessionUpdate, () =>
    remove(async () => {
      const begun = await records.beginDeletion({ sessionId });
      return steps.joinRemoval('delete', begun.generation, async () => {
        await removeFiles(begun);
        setCurrentDetails('deleting rows');
        await removals.deleteSessionRows({ sessionId, generation: begun.generation });
      });
    }),
  );

  async function remove(begin: () => Promise<{ readonly end: Promise<void> }>): Promise<RemovalAnswer> {
    updates += 1;
    removing += 1;
    const askedAtMs = Date.now();
    try {
      const { end } = await begin();
      return await answer(end, askedAtMs);
    } finally {
      removing -= 1;
    }
  }

  /** The agent's files go when no process of the session is left that could write them. */
  async function removeFiles({ jobNames, generation }: BegunRemoval): Promise<void> {
    setCurrentDetails('ending runners');
    for (const jobName of jobNames) await runners.stopRunner({ jobName });
    setCurrentDetails('removing files');
    await removals.removeStorage({ sessionId, generation });
  }

  /** What takes longer than a caller waits goes on without it. */
  async function answer(removal: Promise<void>, askedAtMs: number): Promise<RemovalAnswer> {
    let ended: { readonly error?: unknown } | undefined;
    removal.then(
      () => {
        ended = {};
      },
      (error: unknown) => {
        ended = { error };
        log.error('a removal was given up; the same request again, or garbage collection, takes it up', {
          sessionId,
          error: describeFailure(error),
        });
      },
    );
    // The decision has taken some of the time that the caller has.
    const leftMs = (input.answerWithinMs ?? defaultAnswerWithinMs) - (Date.now() - askedAtMs);
    await condition(() => ended !== undefined, Math.max(1, leftMs));
    if (ended !== undefined && 'error' in ended) throw ended.error;
    return { removed: ended !== undefined };
  }

  /** A removal that has been decided is carried out first: the next execution knows nothing of it. */
  const isLongEnough = () =>
    (workflowInfo().continueAsNewSuggested || updates >= (input.maxUpdates ?? Number.POSITIVE_INFINITY)) &&
    !steps.hasRemoval();

  await condition(() => updates > 0, longestWaitMs);
  for (;;) {
    await steps.doWaiting(isLongEnough);
    if (isLongEnough()) {
      // Whoever asked for a removal is answered, and what is being decided may become one.
      await condition(() => removing === 0);
      if (steps.hasRemoval()) continue;
      if (!allHandlersFinished()) await continueAsNew<typeof sessionStorageWorkflow>(input);
    }
    await condition(() => steps.isWaiting() || allHandlersFinished());
    if (!steps.isWaiting()) return;
  }
}
