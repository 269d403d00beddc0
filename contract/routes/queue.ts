import { z } from 'zod';
import { queueTaskIdSchema } from '../ids.js';
import { createQueueTaskSchema, dispatchSchema, queueTaskRecordSchema } from '../queue.js';
import { routeContract } from '../route-contract.js';
import { cancelObservationSchema, cancelSchema } from '../runs.js';

const tag = 'queue';
const params = z.object({ taskId: queueTaskIdSchema });

/** Queue tasks (contract.md 4). */
export const queueRoutes = {
  createQueueTask: routeContract({
    method: 'post',
    path: '/api/v1/queue/tasks',
    tag,
    summary: 'Creates a task; it waits for its dispatch.',
    auth: { api: 'operate' },
    body: createQueueTaskSchema,
    data: queueTaskRecordSchema,
    idempotency: 'key',
    failures: ['conflict', 'not-found'],
  }),
  getQueueTask: routeContract({
    method: 'get',
    path: '/api/v1/queue/tasks/:taskId',
    tag,
    summary: 'A task.',
    auth: { api: 'read' },
    params,
    data: queueTaskRecordSchema,
  }),
  dispatchQueueTask: routeContract({
    method: 'post',
    path: '/api/v1/queue/tasks/:taskId/dispatch',
    tag,
    summary: 'Hands a task to its session; a repeat answers the same.',
    auth: { api: 'operate' },
    params,
    body: dispatchSchema,
    data: queueTaskRecordSchema,
    failures: ['conflict'],
  }),
  cancelQueueTask: routeContract({
    method: 'post',
    path: '/api/v1/queue/tasks/:taskId/cancel',
    tag,
    summary:
      'Ends a task that waits, or asks for the end of its run; a task that has ended is answered as it is.',
    auth: { api: 'operate' },
    params,
    body: cancelSchema,
    data: queueTaskRecordSchema.extend({ cancel: cancelObservationSchema }),
  }),
};
