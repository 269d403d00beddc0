import type { QueueTaskRecord } from '../../contract/queue.js';
import type { CancelObservation } from '../../contract/runs.js';
import { isTerminalState } from '../../contract/states.js';
import { createQueueTask, getQueueTask } from '../../store/queue-tasks.js';
import type { QueueTaskInput } from '../../workflows/messages.js';
import { type CancelOrder, cancelRequestOf, observeCancel } from '../cancel-run.js';
import type { ApiDeps } from '../deps.js';
import { markReplayed, requestKey } from '../idempotency-key.js';
import { longPoll } from '../long-poll.js';
import { implement, type Route } from '../route.js';
import { requireTenant, requireWorkspace, tenantOf } from '../tenancy.js';
import { unknownOutcome } from '../unknown-outcome.js';

/** Queue tasks (contract.md 4). */
export function queueTaskRoutes(deps: ApiDeps): Route[] {
  const { pool, gateway } = deps;
  return [
    implement('createQueueTask', async (request) => {
      const { body } = request;
      requireTenant(request.caller, body.tenantId);
      requireWorkspace(request.caller, body.workspace);
      const key = requestKey(request.idempotencyKey, { idempotencyKey: body.idempotencyKey });
      const { task, replayed } = await createQueueTask(pool, body, key);
      await gateway.startQueueTask(workflowInput(task)).catch((error: unknown) => {
        // The task is stored; its workflow is started by the repeat of this call or by its dispatch.
        throw unknownOutcome(
          error,
          { taskId: task.id },
          'the task is stored, but Temporal did not answer in time',
        );
      });
      markReplayed(request, replayed);
      return task;
    }),
    implement('getQueueTask', ({ params: { taskId }, caller }) =>
      getQueueTask(pool, taskId, tenantOf(caller)),
    ),
    implement('dispatchQueueTask', async ({ params: { taskId }, caller }) => {
      const task = await getQueueTask(pool, taskId, tenantOf(caller));
      if (isTerminalState(task.state)) return task;
      await gateway.dispatch(workflowInput(task));
      return getQueueTask(pool, taskId);
    }),
    implement('cancelQueueTask', async ({ params: { taskId }, body, caller, signal }) => {
      const task = await getQueueTask(pool, taskId, tenantOf(caller));
      const requested = !isTerminalState(task.state) && (await requestCancel(deps, task, body));
      const after = await untilEnded(deps, taskId, body.waitMs, signal);
      return { ...after, cancel: await observed(deps, after, requested) };
    }),
  ];
}

/** A task's state follows its run's by a look of its workflow, which wakes nobody here. */
const lookMs = 250;

async function requestCancel(deps: ApiDeps, task: QueueTaskRecord, order: CancelOrder): Promise<boolean> {
  const answer = await deps.gateway.cancelTask(workflowInput(task), cancelRequestOf(order));
  if (answer === 'ended') return false;
  if (answer.runId !== null) {
    deps.notifier.notify('agentrun_run', answer.runId);
    deps.notifier.notify('agentrun_attempt', answer.runId);
  }
  return answer.requested;
}

function untilEnded(
  deps: ApiDeps,
  taskId: string,
  waitMs: number,
  signal: AbortSignal,
): Promise<QueueTaskRecord> {
  return longPoll(deps, {
    channel: 'agentrun_run',
    key: taskId,
    waitMs,
    signal,
    atLeastEveryMs: lookMs,
    look: () => getQueueTask(deps.pool, taskId),
    isDone: (task) => isTerminalState(task.state),
  });
}

async function observed(
  deps: ApiDeps,
  task: QueueTaskRecord,
  requested: boolean,
): Promise<CancelObservation> {
  const runId = task.latestAttempt?.runId ?? null;
  if (runId === null) return { requested, observed: [], runStatus: null };
  return observeCancel(deps, runId, requested);
}

function workflowInput(task: QueueTaskRecord): QueueTaskInput {
  return {
    taskId: task.id,
    tenantId: task.tenantId,
    projectId: task.projectId,
    sessionId: task.sessionRef.sessionId,
  };
}
