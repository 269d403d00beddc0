import { ApplicationFailure, Context } from '@temporalio/activity';
import { AgentRunError } from '../contract/errors.js';
import { queueTaskWorkflowId } from '../domain/workflow-ids.js';
import { acceptMessage } from '../store/accept-message.js';
import type { AttemptSettings, PreparedAttempt } from '../store/attempts.js';
import { nextTurn } from '../store/next-turn.js';
import type { Notifier } from '../store/notifier.js';
import type { Pool } from '../store/pool.js';
import { dispatchTask, followTask } from '../store/queue-task-steps.js';
import { finishTurn, openTurn, requestCancel, writeAttempt } from '../store/turn-steps.js';
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
  const wakeRunner = (attempt: PreparedAttempt | null) => {
    if (attempt?.reused === true) notifier.notify('agentrun_runner', attempt.jobName);
  };
  return {
    async acceptMessage({ commandId }) {
      const accepted = await acceptMessage(pool, settings, commandId);
      wakeRunner(accepted.attempt);
      for (const runId of accepted.touchedRunIds) wakeRun(runId);
      return accepted.decision;
    },
    async nextTurn({ sessionId }) {
      const turn = await nextTurn(pool, settings, sessionId);
      if (turn === null) return null;
      wakeRunner(turn.attempt);
      return { runId: turn.runId, launcher: turn.launcher };
    },
    openTurn: ({ runId }) => openTurn(pool, settings, runId),
    async writeAttempt({ runId, epoch }) {
      const attempt = await writeAttempt(pool, settings, runId, epoch);
      wakeRunner(attempt);
      wakeRun(runId);
      return attempt;
    },
    async finishTurn({ runId, end }) {
      const finished = await finishTurn(pool, runId, end);
      wakeRun(runId);
      return finished;
    },
    async requestCancel({ runId, reason }) {
      const answer = await requestCancel(pool, runId, reason);
      wakeRun(runId);
      return answer;
    },
    dispatchTask: ({ taskId }) => finalErrors(() => dispatchTask(pool, taskId, queueTaskWorkflowId(taskId))),
    followTask: ({ taskId }) => finalErrors(() => followTask(pool, taskId)),
  };
}

/** A refusal that no retry changes becomes a typed, non-retryable failure; its type is the failure kind. */
async function finalErrors<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof AgentRunError) || error.failureKind === 'unavailable') throw error;
    Context.current().log.info('refused', { failureKind: error.failureKind, reason: error.message });
    throw ApplicationFailure.create({
      type: error.failureKind,
      message: error.message,
      nonRetryable: true,
      cause: error,
    });
  }
}
