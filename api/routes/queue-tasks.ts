import { z } from 'zod';
import { AgentRunError } from '../../contract/errors.js';
import { queueTaskIdSchema } from '../../contract/ids.js';
import {
  createQueueTaskSchema,
  dispatchSchema,
  type QueueTaskRecord,
  queueTaskRecordSchema,
} from '../../contract/queue.js';
import { isTerminalState } from '../../contract/states.js';
import { createQueueTask, getQueueTask } from '../../store/queue-tasks.js';
import type { QueueTaskInput } from '../../workflows/messages.js';
import type { ApiDeps } from '../deps.js';
import { defineRoute, ignored, type Route } from '../route.js';
import { requireTenant, tenantOf } from '../tenancy.js';

const params = z.object({ taskId: queueTaskIdSchema });

/** Queue tasks (contract.md 4). */
export function queueTaskRoutes(deps: ApiDeps): Route[] {
  const { pool, gateway } = deps;
  return [
    defineRoute({
      method: 'post',
      path: '/api/v1/queue/tasks',
      summary: 'Creates a task; it waits for its dispatch.',
      auth: { api: 'operate' },
      params: ignored,
      query: ignored,
      body: createQueueTaskSchema,
      data: queueTaskRecordSchema,
      handle: async ({ body, caller }) => {
        requireTenant(caller, body.tenantId);
        const task = await createQueueTask(pool, body);
        await gateway.startQueueTask(workflowInput(task)).catch((error: unknown) => {
          throw withTask(error, task);
        });
        return task;
      },
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/queue/tasks/:taskId',
      summary: 'A task.',
      auth: { api: 'read' },
      params,
      query: ignored,
      body: ignored,
      data: queueTaskRecordSchema,
      handle: ({ params: { taskId }, caller }) => getQueueTask(pool, taskId, tenantOf(caller)),
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/queue/tasks/:taskId/dispatch',
      summary: 'Hands a task to its session; a repeat answers the same.',
      auth: { api: 'operate' },
      params,
      query: ignored,
      body: dispatchSchema,
      data: queueTaskRecordSchema,
      handle: async ({ params: { taskId }, caller }) => {
        const task = await getQueueTask(pool, taskId, tenantOf(caller));
        if (isTerminalState(task.state)) return task;
        await gateway.dispatch(workflowInput(task));
        return getQueueTask(pool, taskId);
      },
    }),
  ];
}

function workflowInput(task: QueueTaskRecord): QueueTaskInput {
  return {
    taskId: task.id,
    tenantId: task.tenantId,
    projectId: task.projectId,
    sessionId: task.sessionRef.sessionId,
  };
}

/** The task is stored; its workflow is started by the repeat of this call or by its dispatch. */
function withTask(error: unknown, task: QueueTaskRecord): unknown {
  if (!(error instanceof AgentRunError) || error.failureKind !== 'unavailable') return error;
  return new AgentRunError('unavailable', 'the task is stored, but Temporal did not answer in time', {
    details: { outcome: 'unknown', taskId: task.id },
    retryAfterSeconds: error.retryAfterSeconds ?? 2,
    cause: error,
  });
}
