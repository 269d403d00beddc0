import type { Launcher } from '../contract/runs.js';
import type { SendDecision } from '../domain/send-plan.js';
import type { SupervisionVerdict } from '../domain/supervision.js';
import type { PreparedAttempt } from '../store/attempts.js';
import type { FollowedTask, TaskMessage } from '../store/queue-task-steps.js';
import type { FinishedTurn, OpenedTurn, TurnEnd } from '../store/turn-steps.js';
import type { CancelAnswer } from '../workflows/messages.js';

// What workflows ask for, by kind: how each is retried stands in workflows/activity-proxies.ts.

/** Short Postgres writes; each is one idempotent transaction. */
export interface RecordActivities {
  acceptMessage(input: { commandId: string }): Promise<SendDecision>;
  nextTurn(input: { sessionId: string }): Promise<{ runId: string; launcher: Launcher } | null>;
  openTurn(input: { runId: string }): Promise<OpenedTurn>;
  writeAttempt(input: { runId: string; epoch: number }): Promise<PreparedAttempt>;
  finishTurn(input: { runId: string; end: TurnEnd }): Promise<FinishedTurn>;
  requestCancel(input: { runId: string; reason: string | null }): Promise<Omit<CancelAnswer, 'runId'>>;
  dispatchTask(input: { taskId: string }): Promise<TaskMessage>;
  followTask(input: { taskId: string }): Promise<FollowedTask>;
}

/** Starting and ending runners, and telling other workflows. */
export interface RunnerActivities {
  launchRunner(input: { runId: string; epoch: number }): Promise<void>;
  stopRunner(input: { jobName: string }): Promise<void>;
  announceTurnEnd(input: { runId: string; nextCommandIds: readonly string[] }): Promise<void>;
  sendToSession(message: TaskMessage): Promise<void>;
}

/** Watching a runner until its attempt is over. */
export interface SuperviseActivities {
  superviseRunner(input: { runId: string; epoch: number }): Promise<SupervisedAttempt>;
}

export interface SupervisedAttempt {
  readonly verdict: SupervisionVerdict;
  readonly cancelRequested: boolean;
}
