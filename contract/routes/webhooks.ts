import { z } from 'zod';
import { webhookDeliveryIdSchema, webhookIdSchema } from '../ids.js';
import { cursorQuery, limitQuery, pageOf, queryOf } from '../queries.js';
import { routeContract } from '../route-contract.js';
import {
  createWebhookSchema,
  deletedWebhookSchema,
  rotateWebhookSecretSchema,
  updateWebhookSchema,
  webhookDeliverySchema,
  webhookDeliveryStateSchema,
  webhookSchema,
  webhookWithSecretSchema,
} from '../webhooks.js';

const tag = 'webhooks';
const auth = { api: 'operate' } as const;
const params = z.object({ webhookId: webhookIdSchema });

/** Subscriptions to signed messages (docs/webhooks.md). A URL may hold a secret of its receiver, so reading takes `operate` too. */
export const webhookRoutes = {
  createWebhook: routeContract({
    method: 'post',
    path: '/api/v1/webhooks',
    tag,
    summary: 'Subscribes a URL to signed messages; the secret is in this answer and in no other.',
    auth,
    body: createWebhookSchema,
    data: webhookWithSecretSchema,
    idempotency: 'key',
    failures: ['conflict'],
  }),
  listWebhooks: routeContract({
    method: 'get',
    path: '/api/v1/webhooks',
    tag,
    summary: 'Webhooks, the newest first.',
    auth,
    query: z.object({ limit: limitQuery(100), cursor: cursorQuery }),
    data: pageOf(webhookSchema),
  }),
  getWebhook: routeContract({
    method: 'get',
    path: '/api/v1/webhooks/:webhookId',
    tag,
    summary: 'A webhook, without its secret.',
    auth,
    params,
    data: webhookSchema,
  }),
  updateWebhook: routeContract({
    method: 'patch',
    path: '/api/v1/webhooks/:webhookId',
    tag,
    summary: 'Changes a webhook, pauses it or makes it active again, or ends its former secret.',
    auth,
    params,
    body: updateWebhookSchema,
    data: webhookSchema,
  }),
  deleteWebhook: routeContract({
    method: 'delete',
    path: '/api/v1/webhooks/:webhookId',
    tag,
    summary: 'Ends a subscription; what is not delivered yet is not sent any more.',
    auth,
    params,
    data: deletedWebhookSchema,
  }),
  rotateWebhookSecret: routeContract({
    method: 'post',
    path: '/api/v1/webhooks/:webhookId/rotate-secret',
    tag,
    summary: 'Makes a new secret; the former one signs too for a while.',
    auth,
    params,
    body: rotateWebhookSecretSchema,
    data: webhookWithSecretSchema,
    idempotency: 'key',
    failures: ['conflict'],
  }),
  testWebhook: routeContract({
    method: 'post',
    path: '/api/v1/webhooks/:webhookId/test',
    tag,
    summary: 'Sends a message of type `webhook.test`; what becomes of it is among the deliveries.',
    auth,
    params,
    data: webhookDeliverySchema,
    idempotency: 'none',
    failures: ['conflict'],
  }),
  listWebhookDeliveries: routeContract({
    method: 'get',
    path: '/api/v1/webhooks/:webhookId/deliveries',
    tag,
    summary: 'What was sent and is to be sent, the newest first; `state=dead` is the list of dead letters.',
    auth,
    params,
    query: z.object({
      limit: limitQuery(100),
      cursor: cursorQuery,
      state: queryOf(webhookDeliveryStateSchema),
    }),
    data: pageOf(webhookDeliverySchema),
  }),
  redeliverWebhook: routeContract({
    method: 'post',
    path: '/api/v1/webhooks/:webhookId/deliveries/:deliveryId/redeliver',
    tag,
    summary: 'Sends a message again, under the same id; one that is under way is answered as it is.',
    auth,
    params: params.extend({ deliveryId: webhookDeliveryIdSchema }),
    data: webhookDeliverySchema,
    failures: ['conflict'],
  }),
};
