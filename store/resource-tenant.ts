import type { Queryable } from './pool.js';

/** Whose a thing of the API is, by the kinds of the audit log. */
const queries: Readonly<Record<string, string>> = {
  session: 'select tenant_id from sessions where session_id = $1',
  run: 'select tenant_id from runs where run_id = $1',
  command: 'select r.tenant_id from commands c join runs r using (run_id) where c.command_id = $1',
  'runner-job': 'select r.tenant_id from runner_jobs j join runs r using (run_id) where j.job_id = $1',
  request: 'select tenant_id from agent_requests where request_id = $1',
  'queue-task': 'select tenant_id from queue_tasks where task_id = $1',
  webhook: 'select tenant_id from webhooks where webhook_id = $1',
  'webhook-delivery':
    'select w.tenant_id from webhook_deliveries d join webhooks w using (webhook_id) where d.delivery_id = $1',
};

/** The tenant that a thing belongs to, also of a session that is being deleted; null when there is no such thing or it has none. */
export async function tenantOfResource(
  db: Queryable,
  { resourceKind, resourceId }: { readonly resourceKind: string | null; readonly resourceId: string | null },
): Promise<string | null> {
  const query = resourceKind === null ? undefined : queries[resourceKind];
  if (query === undefined || resourceId === null) return null;
  const found = await db.query<{ tenant_id: string | null }>(query, [resourceId]);
  return found.rows[0]?.tenant_id ?? null;
}
