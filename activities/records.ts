import { queueTaskWorkflowId } from '../domain/workflow-ids.js';
import { acceptMessage } from '../store/accept-message.js';
import { adoptLauncher } from '../store/adopt-launcher.js';
import { endAttempt, lookAtPark } from '../store/attempt-ends.js';
import type { AttemptSettings, PreparedAttempt } from '../store/attempts.js';
import { nextTurn } from '../store/next-turn.js';
import type { Notifier } from '../store/notifier.js';
import type { Pool } from '../store/pool.js';
import { cancelTask, dispatchTask, followTask } from '../store/queue-task-steps.js';
import { loadRetryFacts } from '../store/retry-facts.js';
import { type BegunRemoval, beginDeletion, beginEviction } from '../store/session-storage.js';
import { finishTurn, openTurn, requestCancel, writeAttempt } from '../store/turn-steps.js';
import { finalErrors } from './final-errors.js';
import type { RecordActivities } from './index.js';

export interface RecordDependencies {
  readonly pool: Pool;
  readonly notifier: Notifier;
  readonly settings: AttemptSettings;
}

/** The short Postgres steps of the workflows. Wake-ups are sent after the commit (architecture.md 6). */
export function createRecordActivities({ pool, notifier, settings }: RecordDependencies): RecordActivities {
  const wakeRun = (runId: string) => {
    notifier.notify('agentrun_run', runId);
    notifier.notify('agentrun_attempt', runId);
  };
  // Whether anybody is to be told is not known here; the look is one small query.
  const wakeWebhooks = () => notifier.notify('agentrun_webhook', 'due');
  const wakeRunner = (attempt: PreparedAttempt | null) => {
    if (attempt?.reused === true) notifier.notify('agentrun_runner', attempt.jobName);
  };
  // An idle one that is told to close ends by itself, before it is ended.
  const wakeRunners = (removal: BegunRemoval) => {
    for (const jobName of removal.jobNames) notifier.notify('agentrun_runner', jobName);
    return removal;
  };
  return {
    acceptMessage: final('acceptMessage', async ({ commandId }) => {
      const accepted = await acceptMessage(pool, settings, commandId);
      wakeRunner(accepted.attempt);
      for (const runId of accepted.touchedRunIds) wakeRun(runId);
      if (accepted.begunIn !== null) notifier.notify('agentrun_session', accepted.begunIn);
      return accepted.decision;
    }),
    adoptLauncher: final('adoptLauncher', async ({ runId }) => {
      const decided = await adoptLauncher(pool, settings, runId);
      if (decided.kind === 'job') wakeRun(runId);
      return decided;
    }),
    nextTurn: final('nextTurn', async ({ sessionId }) => {
      const turn = await nextTurn(pool, settings, sessionId);
      if (turn === null) return null;
      wakeRunner(turn.attempt);
      if (turn.attempt !== null) notifier.notify('agentrun_session', sessionId);
      return { runId: turn.runId, launcher: turn.launcher, traceparent: turn.traceparent };
    }),
    openTurn: final('openTurn', ({ runId }) => openTurn(pool, settings, runId)),
    writeAttempt: final('writeAttempt', async ({ runId, epoch }) => {
      const attempt = await writeAttempt(pool, settings, runId, epoch);
      wakeRunner(attempt);
      wakeRun(runId);
      return attempt;
    }),
    endAttempt: final('endAttempt', async (end) => {
      const after = await endAttempt(pool, end);
      wakeRun(end.runId);
      return after;
    }),
    lookAtPark: final('lookAtPark', async (attempt) => {
      const look = await lookAtPark(pool, attempt);
      if (look.state !== 'parked') wakeRun(attempt.runId);
      return look;
    }),
    retryFacts: final('retryFacts', async (attempt) => (await loadRetryFacts(pool, attempt)) ?? null),
    finishTurn: final('finishTurn', async ({ runId, end }) => {
      const finished = await finishTurn(pool, runId, end);
      wakeRun(runId);
      wakeWebhooks();
      return finished;
    }),
    requestCancel: final('requestCancel', async ({ runId, reason, deadlineMs }) => {
      const answer = await requestCancel(pool, runId, reason, deadlineMs ?? null);
      wakeRun(runId);
      return answer;
    }),
    dispatchTask: final('dispatchTask', ({ taskId }) =>
      dispatchTask(pool, taskId, queueTaskWorkflowId(taskId)),
    ),
    followTask: final('followTask', async ({ taskId }) => {
      const task = await followTask(pool, taskId);
      if (task.terminal) wakeWebhooks();
      return task;
    }),
    cancelTask: final('cancelTask', async ({ taskId, reason }) => {
      const task = await cancelTask(pool, taskId, reason);
      if (task.terminal) wakeWebhooks();
      return task;
    }),
    beginEviction: final('beginEviction', async ({ sessionId, onlyIfExpired }) =>
      wakeRunners(await beginEviction(pool, sessionId, { onlyIfExpired })),
    ),
    beginDeletion: final('beginDeletion', async ({ sessionId }) => {
      const removal = wakeRunners(await beginDeletion(pool, sessionId));
      notifier.notify('agentrun_session', sessionId);
      // Tasks that waited for the session have ended with it.
      wakeWebhooks();
      return removal;
    }),
  };
}

/** A step with {@link finalErrors} around it. */
function final<Input, Output>(step: keyof RecordActivities, work: (input: Input) => Promise<Output>) {
  return (input: Input): Promise<Output> => finalErrors(step, () => work(input));
}
