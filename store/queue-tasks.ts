import { AgentRunError } from '../contract/errors.js';
import { idPrefixes } from '../contract/ids.js';
import { type CreateQueueTask, type QueueTaskRecord, queueTaskRecordSchema } from '../contract/queue.js';
import { bodyHash, once, storedAnswer, storedIdSchema } from './idempotency.js';
import { newId } from './new-id.js';
import type { Pool, Queryable, Transaction } from './pool.js';
import { parseQueueTask, queueTaskColumns } from './records.js';
import { holdAgainstDeletion } from './session-tasks.js';
import { findSession, getSession } from './sessions.js';
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
 * @throws AgentRunError `conflict` for the same key with another body, and for a session of another project or profile, or that is being deleted;
 * `not-found` for one of another tenant.
 */
export async function createQueueTask(
  pool: Pool,
  body: CreateQueueTask,
  key: string | null,
): Promise<{ task: QueueTaskRecord; replayed: boolean }> {
  const { idempotencyKey: _key, ...rest } = body;
  const scope =
    key === null ? undefined : { tenantId: body.tenantId, route: 'POST /api/v1/queue/tasks', key };
  const { answer, replayed } = await once(pool, scope, bodyHash(rest), async (tx) => {
    await requireOwnSession(tx, body);
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
  const task = await storedAnswer(queueTaskRecordSchema, answer, () =>
    getQueueTask(pool, storedIdSchema.parse(answer).id, body.tenantId),
  );
  return { task, replayed };
}

/** The task's session may not exist yet: its first message makes it, and is checked again. */
async function requireOwnSession(tx: Transaction, body: CreateQueueTask): Promise<void> {
  const sessionId = body.sessionRef?.sessionId;
  if (sessionId === undefined) return;
  await holdAgainstDeletion(tx, sessionId, body.tenantId);
  if ((await findSession(tx, sessionId)) === undefined) return;
  const session = await getSession(tx, sessionId, body.tenantId);
  if (session.projectId !== body.projectId)
    throw new AgentRunError('conflict', `projectId: session ${sessionId} belongs to another project`);
  if (session.backendProfile !== body.backendProfile)
    throw new AgentRunError(
      'conflict',
      `backendProfile: session ${sessionId} runs on ${session.backendProfile}`,
    );
}
