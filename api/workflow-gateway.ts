import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Client,
  isGrpcServiceError,
  WithStartWorkflowOperation,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { AgentRunError } from '../contract/errors.js';
import { isRequestFailureKind } from '../contract/failure-kinds.js';
import { storageGcSchema } from '../contract/storage.js';
import type { LaunchDecision } from '../domain/launch-decision.js';
import type { SendDecision } from '../domain/send-plan.js';
import {
  mainTaskQueue,
  queueTaskWorkflowId,
  sessionStorageWorkflowId,
  sessionWorkflowId,
  storageGcWorkflowId,
  turnWorkflowId,
} from '../domain/workflow-ids.js';
import {
  type CancelAnswer,
  type CancelRequest,
  type CancelTaskAnswer,
  cancelTaskUpdate,
  cancelUpdate,
  type DispatchAnswer,
  deleteSessionUpdate,
  dispatchUpdate,
  ensureStorageUpdate,
  evictStorageUpdate,
  launchUpdate,
  type QueueTaskInput,
  queueTaskAttributes,
  refreshStorageUpdate,
  type SessionInput,
  type SessionStorageInput,
  type StorageGcReport,
  sendUpdate,
  sessionAttributes,
  storageGcAttributes,
  workflowTypes,
} from '../workflows/messages.js';

/** What the API asks of workflows (architecture.md 4.4). Nothing else of the API starts, updates or signals one. */
export interface WorkflowGateway {
  /** Hands a stored message to its session and answers the decision. */
  send(session: SessionInput, commandId: string): Promise<SendDecision>;
  /** Gives a waiting run the configured launcher (architecture.md 4.4); answers its runner job, or why it gets none. */
  launch(session: SessionInput, runId: string): Promise<LaunchDecision>;
  /** Stores a cancel request in the run's turn; `no-workflow` when no turn of it is running. */
  cancelRun(runId: string, request: CancelRequest): Promise<CancelAnswer | 'no-workflow'>;
  startQueueTask(task: QueueTaskInput): Promise<void>;
  dispatch(task: QueueTaskInput): Promise<DispatchAnswer>;
  /** Cancels a task, and its run if it has one; `ended` when its workflow is over. */
  cancelTask(task: QueueTaskInput, request: CancelRequest): Promise<CancelTaskAnswer | 'ended'>;
  /** Makes the session's storage; resolves when it exists. */
  ensureStorage(session: SessionStorageInput): Promise<void>;
  /** Measures the session's storage and records what is found. */
  refreshStorage(session: SessionStorageInput): Promise<void>;
  /** Evicts the session's storage for good; what takes longer than a request goes on afterwards. */
  evictStorage(session: SessionStorageInput): Promise<void>;
  /** Deletes the session: it does not exist for callers afterwards; its files and rows go, if need be after the answer. */
  deleteSession(session: SessionStorageInput): Promise<void>;
  /** One cycle of garbage collection, of all tenants or of one; joins the one that runs. */
  collectStorage(tenantId: string | null): Promise<StorageGcReport>;
  /** Resolves when Temporal answers within `timeoutMs`. */
  check(timeoutMs: number): Promise<void>;
}

/** All calls of one request together take at most this long (issue 3: 503 within 5 s). */
const requestBudgetMs = 4_000;
/** A cycle of garbage collection begins no further session after 15 s. */
const collectionBudgetMs = 40_000;

/** A result of a workflow has no type: it may be of another version. */
const gcReportSchema = storageGcSchema.omit({ action: true, valuesPrinted: true });

const grpcCodes = { notFound: 5, aborted: 10 } as const;

/** The gateway over a Temporal client. Every method throws AgentRunError `unavailable` when Temporal does not answer in time. */
export function createWorkflowGateway(client: Client, namespace: string): WorkflowGateway {
  return {
    send: (session, commandId) =>
      inBudget(client, () =>
        repeatedOnce(() =>
          client.workflow.executeUpdateWithStart(sendUpdate, {
            args: [{ commandId }],
            updateId: commandId,
            startWorkflowOperation: sessionStart(session),
          }),
        ),
      ),

    launch: (session, runId) =>
      inBudget(client, () =>
        repeatedOnce(() =>
          client.workflow.executeUpdateWithStart(launchUpdate, {
            args: [{ runId }],
            startWorkflowOperation: sessionStart(session),
          }),
        ),
      ),

    cancelRun: (runId, request) =>
      inBudget(client, async () => {
        try {
          return await client.workflow
            .getHandle(turnWorkflowId(runId))
            .executeUpdate(cancelUpdate, { args: [request] });
        } catch (error) {
          if (error instanceof WorkflowNotFoundError || completedFirst(error)) return 'no-workflow';
          throw error;
        }
      }),

    startQueueTask: (task) =>
      inBudget(client, async () => {
        try {
          await client.workflow.start(workflowTypes.queueTask, queueTaskStart(task));
        } catch (error) {
          // The repeat of a creation whose task has ended in between.
          if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
        }
      }),

    dispatch: (task) =>
      inBudget(client, () =>
        client.workflow.executeUpdateWithStart(dispatchUpdate, {
          args: [],
          startWorkflowOperation: new WithStartWorkflowOperation(
            workflowTypes.queueTask,
            queueTaskStart(task),
          ),
        }),
      ),

    cancelTask: (task, request) =>
      inBudget(client, async () => {
        try {
          // With start: the creation of a task may have been told that Temporal is away.
          return await client.workflow.executeUpdateWithStart(cancelTaskUpdate, {
            args: [request],
            startWorkflowOperation: new WithStartWorkflowOperation(
              workflowTypes.queueTask,
              queueTaskStart(task),
            ),
          });
        } catch (error) {
          if (error instanceof WorkflowExecutionAlreadyStartedError || completedFirst(error)) return 'ended';
          throw error;
        }
      }),

    ensureStorage: (session) =>
      inBudget(client, () =>
        repeatedOnce(() =>
          client.workflow.executeUpdateWithStart(ensureStorageUpdate, {
            args: [],
            startWorkflowOperation: storageStart(session),
          }),
        ),
      ),

    refreshStorage: (session) =>
      inBudget(client, () =>
        repeatedOnce(() =>
          client.workflow.executeUpdateWithStart(refreshStorageUpdate, {
            args: [],
            startWorkflowOperation: storageStart(session),
          }),
        ),
      ),

    evictStorage: (session) =>
      inBudget(client, async () => {
        await repeatedOnce(() =>
          client.workflow.executeUpdateWithStart(evictStorageUpdate, {
            args: [{ onlyIfExpired: false }],
            startWorkflowOperation: storageStart(session),
          }),
        );
      }),

    deleteSession: (session) =>
      inBudget(client, async () => {
        await repeatedOnce(() =>
          client.workflow.executeUpdateWithStart(deleteSessionUpdate, {
            args: [],
            startWorkflowOperation: storageStart(session),
          }),
        );
      }),

    collectStorage: (tenantId) =>
      inBudget(
        client,
        async () => {
          const cycle = await client.workflow.start(workflowTypes.storageGc, {
            workflowId: storageGcWorkflowId(tenantId),
            taskQueue: mainTaskQueue,
            args: [{ tenantId }],
            workflowIdConflictPolicy: 'USE_EXISTING',
            workflowExecutionTimeout: '5 minutes',
            typedSearchAttributes: storageGcAttributes(tenantId),
            staticSummary: 'garbage collection of session storage',
          });
          return gcReportSchema.parse(await cycle.result());
        },
        collectionBudgetMs,
      ),

    check: async (timeoutMs) => {
      await bounded(timeoutMs, () =>
        client.withDeadline(Date.now() + timeoutMs, () =>
          client.workflowService.describeNamespace({ namespace }),
        ),
      );
    },
  };
}

/** For one call: an operation cannot be used twice. */
function sessionStart(session: SessionInput) {
  return new WithStartWorkflowOperation(workflowTypes.session, {
    workflowId: sessionWorkflowId(session.sessionId),
    taskQueue: mainTaskQueue,
    args: [session],
    workflowIdConflictPolicy: 'USE_EXISTING',
    typedSearchAttributes: sessionAttributes(session),
    staticSummary: `session ${session.sessionId}`,
  });
}

/** For one call, as {@link sessionStart}. */
function storageStart(session: SessionStorageInput) {
  return new WithStartWorkflowOperation(workflowTypes.sessionStorage, {
    workflowId: sessionStorageWorkflowId(session.sessionId),
    taskQueue: mainTaskQueue,
    args: [session],
    workflowIdConflictPolicy: 'USE_EXISTING',
    typedSearchAttributes: sessionAttributes(session),
    staticSummary: `storage of session ${session.sessionId}`,
  });
}

function queueTaskStart(task: QueueTaskInput) {
  return {
    workflowId: queueTaskWorkflowId(task.taskId),
    taskQueue: mainTaskQueue,
    args: [task],
    workflowIdConflictPolicy: 'USE_EXISTING' as const,
    // A task ends in exactly one state: once ended it is never started again.
    workflowIdReusePolicy: 'REJECT_DUPLICATE' as const,
    typedSearchAttributes: queueTaskAttributes(task, task.taskId, 'queued'),
    staticSummary: `queue task ${task.taskId}`,
  };
}

async function inBudget<T>(client: Client, call: () => Promise<T>, budgetMs = requestBudgetMs): Promise<T> {
  try {
    return await bounded(budgetMs, () => client.withDeadline(Date.now() + budgetMs, call));
  } catch (error) {
    throw toGatewayError(error);
  }
}

/** The deadline of a call bounds each attempt; the client's own retries and its first connect are bounded here. */
async function bounded<T>(timeoutMs: number, call: () => Promise<T>): Promise<T> {
  const timer = new AbortController();
  const late = sleep(timeoutMs + 250, undefined, { signal: timer.signal }).then(
    () => {
      throw unavailable();
    },
    () => new Promise<never>(() => undefined),
  );
  try {
    return await Promise.race([call(), late]);
  } finally {
    timer.abort();
  }
}

/** A session may end between finding it and updating it: the second call starts a new one (architecture.md 4.1). */
async function repeatedOnce<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!completedFirst(error)) throw error;
    return call();
  }
}

function completedFirst(error: unknown): boolean {
  if (error instanceof WorkflowUpdateFailedError) {
    return (
      error.cause instanceof ApplicationFailure && error.cause.type === 'AcceptedUpdateCompletedWorkflow'
    );
  }
  return isGrpcServiceError(error) && (error.code === grpcCodes.notFound || error.code === grpcCodes.aborted);
}

const unavailable = (cause?: unknown) =>
  new AgentRunError(
    'unavailable',
    'Temporal did not answer in time; try again with the same idempotency key',
    {
      retryAfterSeconds: 2,
      cause,
    },
  );

/** The SDK has no code for it. The update changed nothing: it was rejected before any handler ran. */
const isUnknownToWorker = ({ cause }: WorkflowUpdateFailedError): boolean =>
  cause instanceof ApplicationFailure && cause.message.startsWith('No registered handler for update');

const olderWorkers = (cause: unknown) =>
  new AgentRunError(
    'unavailable',
    'the workers are of an earlier version and cannot do this yet; try again when they are upgraded',
    { retryAfterSeconds: 30, cause },
  );

/** A failure that the workflow's handler raised keeps its word when it is one of the registry. */
function toGatewayError(error: unknown): AgentRunError {
  if (error instanceof AgentRunError) return error;
  if (error instanceof WorkflowUpdateFailedError) {
    if (isUnknownToWorker(error)) return olderWorkers(error);
    for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
      if (cause instanceof ApplicationFailure && isRequestFailureKind(cause.type)) {
        return new AgentRunError(cause.type, cause.message, { cause: error });
      }
    }
    return new AgentRunError(
      'infra-failed',
      'the workflow could not do this; the log has it under this trace id',
      { cause: error },
    );
  }
  return unavailable(error);
}
