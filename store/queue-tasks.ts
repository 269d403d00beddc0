import { AgentRunError } from '../contract/errors.js';
import { idPrefixes } from '../contract/ids.js';
import { type CreateQueueTask, type QueueTaskRecord, queueTaskRecordSchema } from '../contract/queue.js';
import { bodyHash, once } from './idempotency.js';
import { newId } from './new-id.js';
import type { Pool, Queryable } from './pool.js';
import { parseQueueTask, queueTaskColumns } from './records.js';
import { storableJson } from './storable-json.js';

/** @throws AgentRunError `not-found`, also for a task of another tenant. */
export async function getQueueTask(
  db: Queryable,
  taskId: string,
  tenantId?: string,
): Promise<QueueTaskRecord> {
  const found = await db.query(
    `select ${queueTaskColumns} from queue_tasks t where t.task_id = $1 and ($2::text is null or t.tenant_id = $2)`,
    [taskId, tenantId ?? null],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `queue task ${taskId} does not exist`);
  return parseQueueTask(found.rows[0]);
}

/**
 * Stores a task, `queued`; it is not dispatched (contract.md 4.2). Without a session it gets a new one. The same idempotency key answers
 * the task as it was created.
 *
 * @throws AgentRunError `conflict` for the same key with another body.
 */
export async function createQueueTask(pool: Pool, body: CreateQueueTask): Promise<QueueTaskRecord> {
  const { idempotencyKey, ...rest } = body;
  const scope =
    idempotencyKey === undefined
      ? undefined
      : { tenantId: body.tenantId, route: 'POST /api/v1/queue/tasks', key: idempotencyKey };
  const answer = await once(pool, scope, bodyHash(rest), async (tx) => {
    const inserted = await tx.query(
      `insert into queue_tasks as t (task_id, tenant_id, project_id, queue, title, priority, backend_profile, session_id, payload,
         workspace, execution_policy, labels, metadata)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) returning ${queueTaskColumns}`,
      [
        newId(idPrefixes.queueTask),
        body.tenantId,
        body.projectId,
        body.queue,
        body.title ?? null,
        body.priority,
        body.backendProfile,
        body.sessionRef?.sessionId ?? newId(idPrefixes.session),
        storableJson(body.payload ?? { prompt: body.prompt?.trim() ?? '' }),
        body.workspace === undefined ? null : storableJson(body.workspace),
        storableJson(body.executionPolicy ?? {}),
        storableJson(body.labels ?? {}),
        storableJson(body.metadata ?? {}),
      ],
    );
    return parseQueueTask(inserted.rows[0]);
  });
  return queueTaskRecordSchema.parse(answer);
}
