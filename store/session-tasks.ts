import { AgentRunError } from '../contract/errors.js';
import type { Transaction } from './pool.js';
import { tellWebhooks } from './webhook-outbox.js';

const taskIdOf = ({ task_id }: { readonly task_id: string }) => task_id;
const endedBy = (sessionId: string) => `session ${sessionId} was deleted`;

/**
 * Cancels the tasks of a session that were not dispatched: dispatched later, they would make the session anew. The session's row is locked by the caller,
 * so none is added or dispatched meanwhile.
 */
export async function endQueuedTasks(tx: Transaction, sessionId: string): Promise<void> {
  const ended = await tx.query<{ task_id: string }>(
    `update queue_tasks set state = 'cancelled', terminal_status = 'cancelled', failure_kind = 'cancelled', failure_message = $2,
       finished_at = now(), updated_at = now() where session_id = $1 and state = 'queued' returning task_id`,
    [sessionId, endedBy(sessionId)],
  );
  await tellWebhooks(tx, 'taskEnd', ended.rows.map(taskIdOf));
}

/** Ends the tasks that were handed to their session by these messages, which are being deleted. */
export async function failTasksOf(
  tx: Transaction,
  sessionId: string,
  commandIds: readonly string[],
): Promise<void> {
  if (commandIds.length === 0) return;
  const ended = await tx.query<{ task_id: string }>(
    `update queue_tasks set state = 'failed', terminal_status = 'failed', failure_kind = 'infra-failed', failure_message = $2,
       finished_at = now(), updated_at = now()
      where session_id = $1 and state in ('dispatched', 'running') and latest_command_id = any($3) returning task_id`,
    [sessionId, endedBy(sessionId), commandIds],
  );
  await tellWebhooks(tx, 'taskEnd', ended.rows.map(taskIdOf));
}

/**
 * Holds a session against its deletion until the transaction ends; one that does not exist is nobody's yet.
 *
 * @throws AgentRunError `conflict` while it is being deleted; `not-found` for another tenant, which is not told that it exists.
 */
export async function holdAgainstDeletion(
  tx: Transaction,
  sessionId: string,
  tenantId: string,
): Promise<void> {
  const found = await tx.query<{ tenant_id: string; is_deleted: boolean }>(
    'select tenant_id, deleted_at is not null as is_deleted from sessions where session_id = $1 for share',
    [sessionId],
  );
  const session = found.rows[0];
  if (session?.is_deleted !== true) return;
  if (session.tenant_id !== tenantId)
    throw new AgentRunError('not-found', `session ${sessionId} does not exist`);
  throw new AgentRunError('conflict', `session ${sessionId} is being deleted`);
}
