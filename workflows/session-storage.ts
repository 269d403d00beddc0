import { allHandlersFinished, condition, log, setCurrentDetails, setHandler } from '@temporalio/workflow';
import type { RecordActivities } from '../activities/index.js';
import { createRecords, removals, runners, storage } from './activity-proxies.js';
import { describeFailure } from './failures.js';
import {
  deleteSessionUpdate,
  ensureStorageUpdate,
  evictStorageUpdate,
  type RemovalAnswer,
  refreshStorageUpdate,
  type SessionStorageInput,
} from './messages.js';

type BegunRemoval = Awaited<ReturnType<RecordActivities['beginEviction']>>;

const defaultAnswerWithinMs = 2_500;
/** An execution that nobody asks for anything: its caller has gone between start and question. */
const longestWaitMs = 60_000;

/**
 * Everything that is done to the storage of one session, one thing after another, so that it is never made while it is removed (docs/adr/0017). Whether
 * something may be removed is decided by Postgres under the session's row lock; from there on it is carried out, whoever waits. Ends when nothing is
 * left to do; the next request starts it again.
 */
export async function sessionStorageWorkflow(input: SessionStorageInput): Promise<void> {
  const { sessionId } = input;
  const records = createRecords();
  let last: Promise<unknown> = Promise.resolve();
  let underWay = 0;
  let asked = false;

  function inTurn<T>(work: () => Promise<T>): Promise<T> {
    asked = true;
    underWay += 1;
    const result = last.then(work).finally(() => {
      underWay -= 1;
    });
    last = result.catch(() => undefined);
    return result;
  }

  setHandler(ensureStorageUpdate, () => inTurn(() => storage.ensureStorage({ sessionId })));
  setHandler(refreshStorageUpdate, () => inTurn(() => storage.measureStorage({ sessionId })));
  setHandler(evictStorageUpdate, async ({ onlyIfExpired }) => {
    asked = true;
    // Not behind what is under way: from the mark on nothing is made any more, and the removal comes after what is being made.
    const begun = await records.beginEviction({ sessionId, onlyIfExpired });
    return answer(inTurn(() => removeFiles(begun)));
  });
  setHandler(deleteSessionUpdate, async () => {
    asked = true;
    const begun = await records.beginDeletion({ sessionId });
    return answer(
      inTurn(async () => {
        await removeFiles(begun);
        setCurrentDetails('deleting rows');
        await removals.deleteSessionRows({ sessionId });
      }),
    );
  });

  /** The agent's files go when no process of the session is left that could write them. */
  async function removeFiles({ jobNames }: BegunRemoval): Promise<void> {
    setCurrentDetails('ending runners');
    for (const jobName of jobNames) await runners.stopRunner({ jobName });
    setCurrentDetails('removing files');
    await removals.removeStorage({ sessionId });
  }

  /** What takes longer than a caller waits goes on without it. */
  async function answer(removal: Promise<void>): Promise<RemovalAnswer> {
    let ended: { readonly error?: unknown } | undefined;
    removal.then(
      () => {
        ended = {};
      },
      (error: unknown) => {
        ended = { error };
        log.error('a removal was given up; garbage collection takes it up again', {
          sessionId,
          error: describeFailure(error),
        });
      },
    );
    await condition(() => ended !== undefined, input.answerWithinMs ?? defaultAnswerWithinMs);
    if (ended !== undefined && 'error' in ended) throw ended.error;
    return { removed: ended !== undefined };
  }

  await condition(() => asked, longestWaitMs);
  await condition(() => underWay === 0 && allHandlersFinished());
}
