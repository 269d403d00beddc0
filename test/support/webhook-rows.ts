import { type CreateWebhook, createWebhookSchema, type WebhookRecord } from '../../contract/webhooks.js';
import type { Pool } from '../../store/pool.js';
import { createWebhook } from '../../store/webhooks.js';

/** Stores a subscription of `acme` unless `tenantId` says otherwise; null is all tenants. */
export async function storeWebhook(
  pool: Pool,
  {
    tenantId = 'acme',
    keyFingerprint = 'key',
    ...body
  }: Partial<Omit<CreateWebhook, 'tenantId'>> & { tenantId?: string | null; keyFingerprint?: string } = {},
): Promise<WebhookRecord> {
  const created = await createWebhook(
    pool,
    createWebhookSchema.parse({ url: 'https://hooks.example.com/x', ...body }),
    { tenantId, keyFingerprint },
    null,
  );
  return created.webhook;
}

/** What is to be said to a webhook: type and source, the oldest first. */
export async function toldTo(pool: Pool, webhookId: string): Promise<string[]> {
  const found = await pool.query<{ told: string }>(
    `select event_type || ' ' || source_id as told from webhook_deliveries where webhook_id = $1 order by delivery_id`,
    [webhookId],
  );
  return found.rows.map((row) => row.told);
}
