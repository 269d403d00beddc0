import { AgentRunError } from '../../contract/errors.js';
import type { WebhookRecord } from '../../contract/webhooks.js';
import { targetProblem } from '../../infra/webhooks/target.js';
import type { WebhookKey } from '../../infra/webhooks/webhook-key.js';
import { createTestDelivery, listDeliveries, redeliver } from '../../store/webhook-deliveries.js';
import {
  createWebhook,
  deleteWebhook,
  getWebhook,
  listWebhooks,
  rotateSecret,
  updateWebhook,
} from '../../store/webhooks.js';
import type { ApiDeps } from '../deps.js';
import { markReplayed, requestKey } from '../idempotency-key.js';
import { implement, type Route } from '../route.js';
import { requireTenant, tenantOf } from '../tenancy.js';
import { schemaInvalid } from '../validation.js';

/** Subscriptions to signed messages (docs/webhooks.md). Their secrets are derived anew for each answer that shows one: none is stored. */
export function webhookRoutes(deps: ApiDeps): Route[] {
  const { pool, notifier } = deps;
  const wake = () => notifier.notify('agentrun_webhook', 'due');
  return [
    implement('createWebhook', async (request) => {
      const { body, caller } = request;
      requireTenant(caller, body.tenantId);
      requireTarget(deps, body.url);
      const key = requireKey(deps);
      const { webhook, replayed } = await createWebhook(
        pool,
        body,
        { tenantId: body.tenantId ?? tenantOf(caller) ?? null, keyFingerprint: key.fingerprint },
        requestKey(request.idempotencyKey),
      );
      markReplayed(request, replayed);
      return withSecret(key, webhook);
    }),
    implement('listWebhooks', ({ query, caller }) =>
      listWebhooks(pool, { ...query, tenantId: tenantOf(caller) }),
    ),
    implement('getWebhook', ({ params: { webhookId }, caller }) =>
      getWebhook(pool, webhookId, tenantOf(caller)),
    ),
    implement('updateWebhook', ({ params: { webhookId }, body, caller }) => {
      if (body.url !== undefined) requireTarget(deps, body.url);
      return updateWebhook(pool, webhookId, tenantOf(caller), body);
    }),
    implement('deleteWebhook', async ({ params: { webhookId }, caller }) => {
      await deleteWebhook(pool, webhookId, tenantOf(caller));
      return { action: 'webhook-deleted', webhookId };
    }),
    implement('rotateWebhookSecret', async (request) => {
      const { params, body, caller } = request;
      const key = requireKey(deps);
      const { webhook, replayed } = await rotateSecret(
        pool,
        { webhookId: params.webhookId, tenantId: tenantOf(caller) },
        { formerValidMs: body.formerValidMs, keyFingerprint: key.fingerprint },
        requestKey(request.idempotencyKey),
      );
      markReplayed(request, replayed);
      return withSecret(key, webhook);
    }),
    implement('testWebhook', async ({ params: { webhookId }, caller }) => {
      const webhook = await getWebhook(pool, webhookId, tenantOf(caller));
      requireActive(webhook);
      const delivery = await createTestDelivery(pool, webhook);
      wake();
      return delivery;
    }),
    implement('listWebhookDeliveries', async ({ params: { webhookId }, query, caller }) => {
      await getWebhook(pool, webhookId, tenantOf(caller));
      return listDeliveries(pool, webhookId, query);
    }),
    implement('redeliverWebhook', async ({ params: { webhookId, deliveryId }, caller }) => {
      requireActive(await getWebhook(pool, webhookId, tenantOf(caller)));
      const delivery = await redeliver(pool, webhookId, deliveryId);
      wake();
      return delivery;
    }),
  ];
}

const withSecret = (key: WebhookKey, webhook: WebhookRecord) => ({
  ...webhook,
  secret: key.secret(webhook.id, webhook.secretGeneration),
});

/** @throws AgentRunError `conflict` where no secret can be made. */
function requireKey({ webhooks }: ApiDeps): WebhookKey {
  if (webhooks.key !== undefined) return webhooks.key;
  throw new AgentRunError(
    'conflict',
    'this installation has no key for webhooks: set AGENTRUN_WEBHOOK_KEY_FILE for API and worker to a file with a key (openssl rand -base64 32)',
    { details: { setting: 'AGENTRUN_WEBHOOK_KEY_FILE' } },
  );
}

/** @throws AgentRunError `schema-invalid` for a URL that could never be reached from here; names are looked at when they are connected to. */
function requireTarget({ webhooks }: ApiDeps, url: string): void {
  const sentence = targetProblem(url, webhooks.allowedHosts);
  if (sentence !== undefined) throw schemaInvalid([{ path: 'url', sentence, received: 'another' }]);
}

/** @throws AgentRunError `conflict` for one that nothing is sent to. */
function requireActive({ id, state }: WebhookRecord): void {
  if (state === 'active') return;
  throw new AgentRunError('conflict', `webhook ${id} is ${state}: make it active first`, {
    details: { state },
  });
}
