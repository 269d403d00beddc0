import {
  defineSearchAttributeKey,
  type SearchAttributePair,
  TypedSearchAttributes,
} from '@temporalio/common';
import { defineSignal, defineUpdate } from '@temporalio/workflow';
import type { LaunchDecision } from '../domain/launch-decision.js';
import type { FirstAttempt, SendDecision } from '../domain/send-plan.js';
import { searchAttributeNames } from '../domain/workflow-ids.js';

// Names, payloads and search attributes of everything that is said to a workflow. The API and the activities import this file and nothing else of
// `workflows/`.
// Payloads hold ids and small decisions, never prompts or outputs (architecture.md 3.3).

/** Registered workflow types. */
export const workflowTypes = {
  session: 'sessionWorkflow',
  turn: 'turnWorkflow',
  queueTask: 'queueTaskWorkflow',
  sessionStorage: 'sessionStorageWorkflow',
  storageGc: 'storageGcWorkflow',
  eventRetention: 'eventRetentionWorkflow',
  runnerRetention: 'runnerRetentionWorkflow',
  webhookDelivery: 'webhookDeliveryWorkflow',
} as const;

export interface SessionInput {
  readonly sessionId: string;
  readonly tenantId: string;
  readonly projectId: string;
  /** How long the workflow stays when nothing goes on; default 10 min. Tests lower it. */
  readonly idleMs?: number;
  /** Continue-as-new after this many updates; default 1,000. Tests lower it. */
  readonly maxUpdates?: number;
}

/** A message that the API stored under `commandId` and that the session is to decide about. */
export interface SendRequest {
  readonly commandId: string;
}

export const sendUpdate = defineUpdate<SendDecision, [SendRequest]>('send');

/** A run that waits for a runner which somebody else starts is to get the configured launcher. */
export interface LaunchRequest {
  readonly runId: string;
}
/** Gives a waiting run the configured launcher (architecture.md 4.4): the turn's supervision finds it in Postgres and launches. */
export const launchUpdate = defineUpdate<LaunchDecision, [LaunchRequest]>('launch');

/** The turn of a run has ended; `nextCommandIds` are steers that came too late and become turns. */
export interface TurnEnded {
  readonly runId: string;
  readonly nextCommandIds: readonly string[];
}
export const turnEndedSignal = defineSignal<[TurnEnded]>('turnEnded');

export interface TurnInput {
  readonly runId: string;
  readonly sessionId: string;
  readonly tenantId: string;
  readonly projectId: string;
  readonly launcher: 'process' | 'kubernetes' | 'external';
  /** The attempt that was prepared with the turn; without it the workflow reads where the run stands. */
  readonly first?: FirstAttempt;
  /** Queue task workflow to tell the end, if any. */
  readonly notifyWorkflowId?: string;
  /** Continue-as-new after this many attempts and looks at a park; default: when Temporal suggests it. Tests lower it. */
  readonly maxRounds?: number;
}

/** A steer was stored for this turn: shows in the history, correctness never depends on it (architecture.md 4.1). */
export const steerSignal = defineSignal<[{ readonly commandId: string }]>('steer');

/** Something that a turn should look at: an answer, or a cancel by a newer message. */
export interface WakeUp {
  readonly commandId: string;
  /** The message has cancelled the turn: the request is stored, and what is under way ends as by {@link cancelUpdate}. */
  readonly cancel?: true;
}
/** Only a wake-up: what it means is read from Postgres, and a slow look finds it without. */
export const wakeSignal = defineSignal<[WakeUp]>('wake');

export interface CancelRequest {
  readonly reason: string | null;
  /** The runner is deleted when its turn has not ended so long after the request; default 15 s. */
  readonly deadlineMs?: number | null;
}
/** What was observed: the request was stored, or the run had ended already. */
export interface CancelAnswer {
  readonly runId: string;
  readonly status: string;
  readonly requested: boolean;
}
/** Cancels a turn: an Update of the `turn` workflow that stores the request (architecture.md 4.2). */
export const cancelUpdate = defineUpdate<CancelAnswer, [CancelRequest]>('cancel');

export interface QueueTaskInput {
  readonly taskId: string;
  readonly tenantId: string;
  readonly projectId: string;
  readonly sessionId: string;
}
export interface DispatchAnswer {
  readonly taskId: string;
  /** Null: the session refused the message and the task has failed. */
  readonly runId: string | null;
  readonly commandId: string;
}
/** Dispatches a queue task: answers once its message is decided. A second dispatch answers the same. */
export const dispatchUpdate = defineUpdate<DispatchAnswer, []>('dispatch');
/** What a cancel of a queue task met: `state` after it, and the run whose end it follows from here on, if it has one. */
export interface CancelTaskAnswer {
  readonly taskId: string;
  readonly state: string;
  /** False: the task had ended already. */
  readonly requested: boolean;
  readonly runId: string | null;
}
/** Cancels a queue task: at once before its dispatch, afterwards by cancelling its run. */
export const cancelTaskUpdate = defineUpdate<CancelTaskAnswer, [CancelRequest]>('cancelTask');
/** The run of a queue task has ended. */
export const taskRunEndedSignal = defineSignal<[{ readonly runId: string }]>('taskRunEnded');

/** The storage of one session; ends when nothing is left to do. */
export interface SessionStorageInput {
  readonly sessionId: string;
  readonly tenantId: string;
  readonly projectId: string;
  /** How long a removal is waited for before its caller is told that it goes on; default 2.5 s. Tests change it. */
  readonly answerWithinMs?: number;
  /** Continue-as-new after this many updates; default: when Temporal suggests it. Tests lower it. */
  readonly maxUpdates?: number;
}
/** Makes the storage: answers when it exists. */
export const ensureStorageUpdate = defineUpdate<void, []>('ensure');
/** Measures the storage and records what was found. */
export const refreshStorageUpdate = defineUpdate<void, []>('refresh');
/** What has become of a removal: it is done, or it goes on in the background; the session is marked in both cases. */
export interface RemovalAnswer {
  readonly removed: boolean;
}
/** Evicts the storage. Refused with `session-busy`, and with `conflict` when `onlyIfExpired` and it has not expired. */
export const evictStorageUpdate = defineUpdate<RemovalAnswer, [{ readonly onlyIfExpired: boolean }]>('evict');
/** Deletes the session: its storage, then its rows. Refused with `session-busy`. */
export const deleteSessionUpdate = defineUpdate<RemovalAnswer, []>('delete');

/** One cycle of garbage collection, of all tenants or of one. */
export interface StorageGcInput {
  readonly tenantId: string | null;
  /** Sessions that are looked at; default 200. */
  readonly limit?: number;
}
/** What became of one session in a cycle. */
export interface CollectedSession {
  readonly outcome: 'deleted' | 'kept' | 'failed';
  /** Why; blank for `deleted`. */
  readonly reason: string;
}
/** Report of a cycle. */
export interface StorageGcReport {
  readonly examined: number;
  readonly kept: readonly { readonly sessionId: string; readonly reason: string }[];
  readonly deleted: readonly string[];
  readonly failed: readonly { readonly sessionId: string; readonly reason: string }[];
  readonly hasMore: boolean;
}

/** One generation of a delivery to a webhook. */
export interface WebhookDeliveryInput {
  readonly deliveryId: string;
  readonly generation: number;
}

/** Report of a cycle of retention. */
export interface EventRetentionReport {
  /** Null: events are kept for ever. */
  readonly retentionDays: number | null;
  /** Partitions that were made ahead. */
  readonly made: readonly string[];
  /** Months of the log that were looked at. */
  readonly examined: number;
  readonly dropped: readonly string[];
  readonly kept: readonly { readonly month: string; readonly reason: string }[];
  /** Runs whose events have no partition of their own. */
  readonly withoutPartition: { readonly deleted: number; readonly kept: number };
  /** What could not be done; the next cycle tries it again. */
  readonly failed: readonly { readonly step: string; readonly reason: string }[];
}

/** A Job was made: another cycle of retention is due. */
export const retainRunnersSignal = defineSignal<[]>('retainRunners');

/** Report of a cycle over the Jobs of runners. */
export interface RunnerRetentionReport {
  /** False: this installation keeps them, or has none. */
  readonly isEnabled: boolean;
  /** Jobs that count. */
  readonly examined: number;
  readonly kept: { readonly active: number; readonly unknown: number; readonly withinLimits: number };
  readonly deleted: readonly string[];
  /** What could not be done; the next cycle tries it again. */
  readonly failed: readonly { readonly jobName: string; readonly reason: string }[];
  readonly hasMore: boolean;
}

// Typed search attributes: what `temporal workflow list --query` and the UI find workflows by (architecture.md 4.2).

const keyword = (name: string) => defineSearchAttributeKey(name, 'KEYWORD');

export const tenantKey = keyword(searchAttributeNames.tenant);
export const projectKey = keyword(searchAttributeNames.project);
export const sessionKey = keyword(searchAttributeNames.session);
export const runKey = keyword(searchAttributeNames.run);
export const taskKey = keyword(searchAttributeNames.task);
export const stateKey = keyword(searchAttributeNames.state);

interface Owner {
  readonly tenantId: string;
  readonly projectId: string;
  readonly sessionId: string;
}

function ownerPairs(owner: Owner): SearchAttributePair[] {
  return [
    { key: tenantKey, value: owner.tenantId },
    { key: projectKey, value: owner.projectId },
    { key: sessionKey, value: owner.sessionId },
  ];
}

/** What `temporal workflow list --query` finds a session's workflow by. */
export const sessionAttributes = (owner: Owner) => new TypedSearchAttributes(ownerPairs(owner));

/** What a turn's workflow is found by. */
export const turnAttributes = (owner: Owner, runId: string, state: string) =>
  new TypedSearchAttributes([
    ...ownerPairs(owner),
    { key: runKey, value: runId },
    { key: stateKey, value: state },
  ]);

/** What a cycle of garbage collection is found by. */
export const storageGcAttributes = (tenantId: string | null) =>
  new TypedSearchAttributes(tenantId === null ? [] : [{ key: tenantKey, value: tenantId }]);

/** What the delivery to a webhook is found by; `tenantId`: of what it is about. */
export const webhookAttributes = (tenantId: string | null) =>
  new TypedSearchAttributes(tenantId === null ? [] : [{ key: tenantKey, value: tenantId }]);

/** What a queue task's workflow is found by. */
export const queueTaskAttributes = (owner: Owner, taskId: string, state: string) =>
  new TypedSearchAttributes([
    ...ownerPairs(owner),
    { key: taskKey, value: taskId },
    { key: stateKey, value: state },
  ]);
