import type { Launcher } from '../contract/runs.js';
import type { RetentionDecision } from '../domain/kubernetes/runner-retention.js';
import type { LaunchDecision } from '../domain/launch-decision.js';
import type { RetryFacts } from '../domain/retry-decision.js';
import type { SendDecision } from '../domain/send-plan.js';
import type { SupervisionVerdict } from '../domain/supervision.js';
import type { AfterAttempt, EndedAttempt, ParkLook } from '../store/attempt-ends.js';
import type { MonthEnd, TrimmedDefault } from '../store/event-retention.js';
import type { SessionGeneration } from '../store/idle-session.js';
import type { CancelledTask, FollowedTask, TaskMessage } from '../store/queue-task-steps.js';
import type { BegunRemoval, ExpiredSession, ExpiredSessions } from '../store/session-storage.js';
import type { FinishedTurn, OpenedTurn, TurnEnd, WrittenAttempt } from '../store/turn-steps.js';
import type {
  CancelAnswer,
  CancelRequest,
  CollectedSession,
  WebhookDeliveryInput,
} from '../workflows/messages.js';

// What workflows ask for, by kind: how each is retried stands in workflows/activity-proxies.ts.

/** Short Postgres writes; each is one idempotent transaction. */
export interface RecordActivities {
  acceptMessage(input: { commandId: string }): Promise<SendDecision>;
  adoptLauncher(input: { runId: string }): Promise<LaunchDecision>;
  /** `traceparent` is left out in histories of before. */
  nextTurn(input: {
    sessionId: string;
  }): Promise<{ runId: string; launcher: Launcher; traceparent?: string | null } | null>;
  openTurn(input: { runId: string }): Promise<OpenedTurn>;
  writeAttempt(input: { runId: string; epoch: number }): Promise<WrittenAttempt>;
  endAttempt(input: EndedAttempt): Promise<AfterAttempt>;
  lookAtPark(input: { runId: string; epoch: number }): Promise<ParkLook>;
  /** Null: the attempt was never written. */
  retryFacts(input: { runId: string; epoch: number }): Promise<RetryFacts | null>;
  finishTurn(input: { runId: string; end: TurnEnd }): Promise<FinishedTurn>;
  requestCancel(input: {
    runId: string;
    reason: string | null;
    deadlineMs?: number | null;
  }): Promise<Omit<CancelAnswer, 'runId'>>;
  dispatchTask(input: { taskId: string }): Promise<TaskMessage>;
  followTask(input: { taskId: string }): Promise<FollowedTask>;
  cancelTask(input: { taskId: string; reason: string | null }): Promise<CancelledTask>;
  beginEviction(input: { sessionId: string; onlyIfExpired: boolean }): Promise<BegunRemoval>;
  beginDeletion(input: { sessionId: string }): Promise<BegunRemoval>;
}

/** Starting and ending runners, and telling other workflows. */
export interface RunnerActivities {
  launchRunner(input: { runId: string; epoch: number }): Promise<void>;
  stopRunner(input: { jobName: string }): Promise<void>;
  announceTurnEnd(input: { runId: string; nextCommandIds: readonly string[] }): Promise<void>;
  sendToSession(message: TaskMessage): Promise<void>;
  /** Cancels a run as the API's route does: by its turn's workflow, or at once when it has none yet. */
  cancelRun(input: { runId: string } & CancelRequest): Promise<void>;
}

/** The files of sessions and the rows of deleted ones; each is idempotent. */
export interface StorageActivities {
  ensureStorage(input: { sessionId: string }): Promise<void>;
  /** Measures and records. */
  measureStorage(input: { sessionId: string }): Promise<void>;
  /** Only of a session whose eviction or deletion has begun and whose runners are proven gone; nothing of another generation. */
  removeStorage(input: SessionGeneration): Promise<void>;
  deleteSessionRows(input: SessionGeneration): Promise<void>;
  listExpiredSessions(input: { tenantId: string | null; limit: number }): Promise<ExpiredSessions>;
  /** Has the session's own workflow evict it, or finish what was begun. */
  collectSession(session: ExpiredSession): Promise<CollectedSession>;
}

/** The log's partitions and what is kept of it; each is idempotent. How long events are kept is a setting of the worker that carries it out. */
export interface RetentionActivities {
  /** Makes the partitions of the coming months; answers those made. */
  makeEventPartitions(): Promise<readonly string[]>;
  /** `retentionDays` null: everything is kept for ever, and no month is to be looked at. */
  listPastEventMonths(): Promise<{ retentionDays: number | null; months: readonly string[] }>;
  /** Drops a month all of whose runs ended long enough ago. */
  dropEventMonth(input: { month: string }): Promise<MonthEnd>;
  /** Deletes old events that never got a partition of their own. */
  trimDefaultEvents(): Promise<TrimmedDefault>;
}

/** The Jobs of runners that are kept in a cluster; each is idempotent. What is kept is a setting of the worker that carries it out. */
export interface RunnerRetentionActivities {
  /** Null: nothing is ever removed. */
  lookAtRunners(): Promise<RunnersToRemove | null>;
  /** Removes one unless it has become active since. */
  removeRunner(input: { jobName: string }): Promise<{ readonly outcome: 'removed' | 'kept' }>;
}

export interface RunnersToRemove extends Pick<RetentionDecision, 'kept'> {
  readonly examined: number;
  readonly toRemove: RetentionDecision['remove'];
  /** More are to be removed than one cycle does. */
  readonly hasMore: boolean;
}

/** Watching a runner until its attempt is over. */
export interface SuperviseActivities {
  /** `launcher`: of the attempt as its workflow knows it; it is told when the records say another. Left out in histories of 0.2.0. */
  superviseRunner(input: { runId: string; epoch: number; launcher?: Launcher }): Promise<SupervisedAttempt>;
}

/** Posting to webhooks. */
export interface WebhookActivities {
  /** One POST and its record; fails when another try is to follow. `skipped`: somebody has ended or deleted it. */
  deliverWebhook(input: WebhookDeliveryInput): Promise<{ readonly state: 'delivered' | 'dead' | 'skipped' }>;
  /** Gives up what has not ended: its last try has left no word. */
  buryWebhook(input: WebhookDeliveryInput): Promise<void>;
}

/** Bounded: texts of the agent are cut off, the whole ones are in Postgres. */
export interface SupervisedAttempt {
  readonly verdict: SupervisionVerdict;
  readonly cancelRequested: boolean;
  /** What the decision about another attempt needs; not there in histories of 0.1.0. */
  readonly retry?: RetryFacts;
}
