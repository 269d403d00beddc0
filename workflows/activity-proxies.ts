import {
  ActivityCancellationType,
  ActivityFailure,
  ApplicationFailure,
  isCancellation,
  patched,
  proxyActivities,
  proxyLocalActivities,
} from '@temporalio/workflow';
import type {
  RecordActivities,
  RetentionActivities,
  RunnerActivities,
  RunnerRetentionActivities,
  StorageActivities,
  SuperviseActivities,
  WebhookActivities,
} from '../activities/index.js';
import type { RequestFailureKind } from '../contract/failure-kinds.js';
import { firstRetryMs, longestRetryMs, retryFactor, webhookTries } from '../domain/webhook-retry.js';
import { storageTaskQueue, superviseTaskQueue, webhookTaskQueue } from '../domain/workflow-ids.js';

// One proxy per way of retrying, each with its reason. `cancellationType` is always said: left out it means TRY_CANCEL,
// whatever its documentation says (style.md 0.2 finding 2).
const cancellationType = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED;

/** Short Postgres writes: once as a local activity of at most 2 s, since one that hangs freezes its workflow. */
const localRecords = proxyLocalActivities<RecordActivities>({
  startToCloseTimeout: '2 seconds',
  scheduleToCloseTimeout: '2 seconds',
  retry: { maximumAttempts: 1 },
  cancellationType,
});
/** The same functions when Postgres is slow or away: until it is back, since the turn cannot go on without its records. */
const patientRecords = proxyActivities<RecordActivities>({
  startToCloseTimeout: '10 seconds',
  retry: { initialInterval: '1 second', backoffCoefficient: 1.5, maximumInterval: '10 seconds' },
  cancellationType,
});

/** The same for a decision whose caller waits 4 s at most: it is not to be taken long after the caller was told that nothing is known. */
const promptRecords = proxyActivities<RecordActivities>({
  startToCloseTimeout: '1500 milliseconds',
  scheduleToCloseTimeout: '1500 milliseconds',
  retry: { initialInterval: '100 milliseconds' },
  cancellationType,
});

/** Starting and ending runners: idempotent by job name; tried for 15 min (a database may be away), then the attempt has failed. */
export const runners = proxyActivities<RunnerActivities>({
  startToCloseTimeout: '5 minutes',
  scheduleToCloseTimeout: '15 minutes',
  heartbeatTimeout: '30 seconds',
  retry: { initialInterval: '1 second', maximumInterval: '30 seconds' },
  cancellationType,
});

/** Has one session collected while somebody waits for the whole cycle: what fails is a line of its report. */
export const collection = proxyActivities<Pick<StorageActivities, 'collectSession'>>({
  startToCloseTimeout: '10 seconds',
  scheduleToCloseTimeout: '15 seconds',
  retry: { initialInterval: '500 milliseconds', maximumAttempts: 2 },
  cancellationType,
});

/** Makes storage and lists what to collect while somebody waits: a few tries. */
export const storage = proxyActivities<Pick<StorageActivities, 'ensureStorage' | 'listExpiredSessions'>>({
  startToCloseTimeout: '15 seconds',
  scheduleToCloseTimeout: '1 minute',
  retry: { initialInterval: '500 milliseconds', maximumInterval: '10 seconds' },
  cancellationType,
});

/** Looks at storage while somebody waits: a few tries. On its own queue, since it reads much. */
export const measures = proxyActivities<Pick<StorageActivities, 'measureStorage'>>({
  taskQueue: storageTaskQueue,
  startToCloseTimeout: '15 seconds',
  scheduleToCloseTimeout: '1 minute',
  retry: { initialInterval: '500 milliseconds', maximumInterval: '10 seconds' },
  cancellationType,
});

/** Removing files and rows for good, few at a time: tried for an hour and then given up, until somebody asks again or garbage collection is asked for. */
export const removals = proxyActivities<Pick<StorageActivities, 'removeStorage' | 'deleteSessionRows'>>({
  taskQueue: storageTaskQueue,
  startToCloseTimeout: '30 minutes',
  scheduleToCloseTimeout: '1 hour',
  heartbeatTimeout: '30 seconds',
  retry: { initialInterval: '1 second', maximumInterval: '1 minute' },
  cancellationType,
});

/** The log's partitions: locks of whole tables are asked for briefly, a few times; what was not given is left to the next cycle. */
export const retention = proxyActivities<RetentionActivities>({
  taskQueue: storageTaskQueue,
  startToCloseTimeout: '30 minutes',
  scheduleToCloseTimeout: '1 hour',
  heartbeatTimeout: '30 seconds',
  retry: { initialInterval: '2 seconds', maximumInterval: '30 seconds', maximumAttempts: 6 },
  cancellationType,
});

/** Jobs of runners that nobody needs: what does not go in a few minutes, because its node is away for one, is a line of the report. */
export const runnerRemovals = proxyActivities<RunnerRetentionActivities>({
  taskQueue: storageTaskQueue,
  startToCloseTimeout: '4 minutes',
  scheduleToCloseTimeout: '5 minutes',
  heartbeatTimeout: '30 seconds',
  retry: { initialInterval: '2 seconds', maximumInterval: '30 seconds', maximumAttempts: 3 },
  cancellationType,
});

/** Telling other workflows: until Temporal takes it. */
export const announcements = proxyActivities<
  Pick<RunnerActivities, 'announceTurnEnd' | 'sendToSession' | 'cancelRun'>
>({
  startToCloseTimeout: '15 seconds',
  retry: { initialInterval: '500 milliseconds', maximumInterval: '30 seconds' },
  cancellationType,
});

/**
 * Posting to a webhook: one POST for each try, ten of them (domain/webhook-retry.ts, which the activity asks for the pause after a try that it has
 * recorded; what is said here is for a worker that died in the middle). Longer than all pauses together only when no worker is there.
 */
export const webhookPosts = proxyActivities<Pick<WebhookActivities, 'deliverWebhook'>>({
  taskQueue: webhookTaskQueue,
  startToCloseTimeout: '30 seconds',
  scheduleToCloseTimeout: '3 days',
  heartbeatTimeout: '10 seconds',
  retry: {
    initialInterval: firstRetryMs,
    backoffCoefficient: retryFactor,
    maximumInterval: longestRetryMs,
    maximumAttempts: webhookTries,
  },
  cancellationType,
});

/** The last word about a delivery: until Postgres takes it. */
export const webhookRecords = proxyActivities<Pick<WebhookActivities, 'buryWebhook'>>({
  taskQueue: webhookTaskQueue,
  startToCloseTimeout: '10 seconds',
  scheduleToCloseTimeout: '1 day',
  retry: { initialInterval: '1 second', maximumInterval: '1 minute' },
  cancellationType,
});

/** Watching a runner for as long as its turn lasts: a worker that dies is replaced after 15 s (architecture.md 4.2). */
export const supervisor = proxyActivities<SuperviseActivities>({
  taskQueue: superviseTaskQueue,
  startToCloseTimeout: '30 days',
  heartbeatTimeout: '15 seconds',
  retry: { initialInterval: '1 second', backoffCoefficient: 1 },
  cancellationType,
});

/**
 * The record steps of one workflow execution, one at a time. Local activities that overlap resolve in another order when a history is replayed
 * (in the order they were scheduled, not in which they ended: docs/adr/0006), so a workflow never has two of them under way.
 */
export function createRecords(): RecordActivities {
  let former: Promise<unknown> = Promise.resolve();
  const inTurn = <S extends Step>(step: S, carryOut: typeof durably = durably) => {
    return (input: Parameters<RecordActivities[S]>[0]): Promise<Awaited<ReturnType<RecordActivities[S]>>> => {
      const result = former.then(() => carryOut(step, input));
      former = result.catch(() => undefined);
      return result;
    };
  };
  return {
    acceptMessage: inTurn('acceptMessage'),
    adoptLauncher: inTurn('adoptLauncher'),
    nextTurn: inTurn('nextTurn'),
    openTurn: inTurn('openTurn'),
    writeAttempt: inTurn('writeAttempt'),
    endAttempt: inTurn('endAttempt'),
    lookAtPark: inTurn('lookAtPark'),
    retryFacts: inTurn('retryFacts'),
    finishTurn: inTurn('finishTurn'),
    requestCancel: inTurn('requestCancel'),
    dispatchTask: inTurn('dispatchTask'),
    followTask: inTurn('followTask'),
    cancelTask: inTurn('cancelTask'),
    beginEviction: inTurn('beginEviction', promptly),
    beginDeletion: inTurn('beginDeletion', promptly),
  };
}

type Step = keyof RecordActivities;

/**
 * A short record step as a local activity and, when that fails or hangs, as a regular one (architecture.md 3.4). An ApplicationFailure that says
 * non-retryable is final and a cancellation is passed on.
 */
async function durably<S extends Step>(
  step: S,
  input: Parameters<RecordActivities[S]>[0],
  again: StepCalls = patientRecords,
): Promise<Awaited<ReturnType<RecordActivities[S]>>> {
  try {
    return await run(localRecords, step, input);
  } catch (error) {
    if (isCancellation(error)) throw error;
    // Former histories repeat what was refused for good.
    if (isFinal(error) && patched('refused-step-not-repeated')) throw error;
    return run(again, step, input);
  }
}

/**
 * As {@link durably} for a decision, but given up while somebody may still be waiting.
 *
 * @throws ApplicationFailure `unavailable`: whether it was taken is unknown.
 */
async function promptly<S extends Step>(
  step: S,
  input: Parameters<RecordActivities[S]>[0],
): Promise<Awaited<ReturnType<RecordActivities[S]>>> {
  try {
    return await durably(step, input, promptRecords);
  } catch (error) {
    if (isCancellation(error) || isFinal(error)) throw error;
    throw ApplicationFailure.create({
      type: 'unavailable' satisfies RequestFailureKind,
      message: 'the records did not answer in time; ask again',
      nonRetryable: true,
      ...(error instanceof Error ? { cause: error } : {}),
    });
  }
}

type StepCall<S extends Step> = (
  input: Parameters<RecordActivities[S]>[0],
) => Promise<Awaited<ReturnType<RecordActivities[S]>>>;
type StepCalls = { readonly [K in Step]: StepCall<K> };

function run<S extends Step>(
  proxies: StepCalls,
  step: S,
  input: Parameters<RecordActivities[S]>[0],
): Promise<Awaited<ReturnType<RecordActivities[S]>>> {
  return proxies[step](input);
}

/** A local activity fails with the failure itself, a regular one wraps it. */
function isFinal(error: unknown): boolean {
  const failure = error instanceof ActivityFailure ? error.cause : error;
  return failure instanceof ApplicationFailure && failure.nonRetryable === true;
}
