import { z } from 'zod';
import { idPrefixes } from '../contract/ids.js';
import { newId } from './new-id.js';
import type { Transaction } from './pool.js';
import { isoTime } from './records.js';

/** Labels of more bytes are left out of a message, which is to stay small. */
const largestLabelsBytes = 8_192;
const rowsPerInsert = 1_000;

const messageSchema = z.object({
  webhook_id: z.string(),
  event_type: z.string(),
  source_id: z.string(),
  run_id: z.string().nullable(),
  data: z.string(),
});

const shownLabels = (labels: string) =>
  `case when octet_length(${labels}::text) <= ${largestLabelsBytes} then ${labels} end`;

/** Facts of a run that has ended. No text of the agent or of a person: who is told reads the rest with a token of its own. */
const runEnd = `select r.tenant_id, r.project_id, r.labels, r.run_id as source_id, r.run_id, 'run.' || r.terminal_status as event_type,
    jsonb_build_object('tenantId', r.tenant_id, 'projectId', r.project_id, 'sessionId', r.session_id, 'runId', r.run_id,
      'status', r.terminal_status, 'failureKind', r.failure_kind, 'attempt', r.current_epoch, 'labels', ${shownLabels('r.labels')},
      'createdAt', ${isoTime('r.created_at')}, 'startedAt', ${isoTime('r.started_at')}, 'finishedAt', ${isoTime('r.finished_at')}) as data
  from runs r where r.run_id = any($1) and r.terminal_status is not null`;

const taskEnd = `select t.tenant_id, t.project_id, t.labels, t.task_id as source_id, null as run_id, 'task.' || t.state as event_type,
    jsonb_build_object('tenantId', t.tenant_id, 'projectId', t.project_id, 'sessionId', t.session_id, 'taskId', t.task_id, 'runId', t.latest_run_id,
      'queue', t.queue, 'status', t.state, 'failureKind', t.failure_kind, 'attempt', t.attempts, 'labels', ${shownLabels('t.labels')},
      'createdAt', ${isoTime('t.created_at')}, 'finishedAt', ${isoTime('t.finished_at')}) as data
  from queue_tasks t where t.task_id = any($1) and t.finished_at is not null`;

const pendingRequest = `select q.tenant_id, r.project_id, r.labels, q.request_id as source_id, q.run_id, 'request.pending' as event_type,
    jsonb_build_object('tenantId', q.tenant_id, 'projectId', r.project_id, 'sessionId', q.session_id, 'runId', q.run_id, 'requestId', q.request_id,
      'status', q.state, 'kind', q.kind, 'attempt', q.epoch, 'labels', ${shownLabels('r.labels')},
      'askedAt', ${isoTime('q.asked_at')}, 'expiresAt', ${isoTime('q.expires_at')}) as data
  from agent_requests q join runs r using (run_id) where q.request_id = any($1) and q.state = 'pending'`;

/** The statement that finds who is to be told of what; `$1` are ids of `source`. Exported for the look at its plan. */
export const matchingWebhooks = {
  runEnd: matching(runEnd),
  taskEnd: matching(taskEnd),
  pendingRequest: matching(pendingRequest),
} as const;

function matching(source: string): string {
  return `select w.webhook_id, e.event_type, e.source_id, e.run_id, e.data::text as data
    from (${source}) e
    join webhooks w on w.state = 'active' and w.deleted_at is null and (w.tenant_id = e.tenant_id or w.tenant_id is null)
     and (w.project_id is null or w.project_id = e.project_id) and e.event_type = any(w.events) and e.labels @> w.labels`;
}

/**
 * Stores what webhooks are to be told of ids that have just ended, or of requests that have begun to wait, in the transaction that makes it so. One small
 * query while nobody wants to know. A repeat stores nothing.
 */
export async function tellWebhooks(
  tx: Transaction,
  what: keyof typeof matchingWebhooks,
  ids: readonly string[],
): Promise<void> {
  if (ids.length === 0) return;
  const found = await tx.query(matchingWebhooks[what], [ids]);
  const messages = found.rows.map((row) => messageSchema.parse(row));
  for (let from = 0; from < messages.length; from += rowsPerInsert) {
    const some = messages.slice(from, from + rowsPerInsert);
    await tx.query(
      `insert into webhook_deliveries (delivery_id, webhook_id, event_type, source_id, run_id, data)
       select delivery_id, webhook_id, event_type, source_id, run_id, data::jsonb
         from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
           as m(delivery_id, webhook_id, event_type, source_id, run_id, data)
       on conflict (webhook_id, event_type, source_id) do nothing`,
      [
        some.map(() => newId(idPrefixes.webhookDelivery)),
        some.map((message) => message.webhook_id),
        some.map((message) => message.event_type),
        some.map((message) => message.source_id),
        some.map((message) => message.run_id),
        some.map((message) => message.data),
      ],
    );
  }
}
