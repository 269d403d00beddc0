import { z } from 'zod';
import { jsonObjectSchema } from './json.js';
import { optional, optionalOr } from './optional.js';
import { labelsSchema } from './runs.js';
import { textSchema } from './text.js';

/** What a webhook may be told of: the end of a run or of a queue task, and a request of an agent that waits for a person. A closed list. */
export const webhookEventTypes = [
  'run.completed',
  'run.failed',
  'run.blocked',
  'run.cancelled',
  'task.completed',
  'task.failed',
  'task.blocked',
  'task.cancelled',
  'task.expired',
  'request.pending',
] as const;
export const webhookEventTypeSchema = z.enum(webhookEventTypes).meta({ id: 'WebhookEventType' });

/** What a delivery may be about: one of these, or a test that somebody asked for. */
export const webhookDeliveryTypeSchema = z.enum([...webhookEventTypes, 'webhook.test']);
export type WebhookDeliveryType = z.infer<typeof webhookDeliveryTypeSchema>;

/** `gone`: the receiver has answered 410, nothing more is sent until somebody makes it active. */
export const webhookStateSchema = z.enum(['active', 'paused', 'gone']).meta({ id: 'WebhookState' });

/** `dead`: given up after the last try; only a redelivery sends it again. */
export const webhookDeliveryStateSchema = z
  .enum(['waiting', 'sending', 'delivered', 'dead'])
  .meta({ id: 'WebhookDeliveryState' });
export type WebhookDeliveryState = z.infer<typeof webhookDeliveryStateSchema>;

/** Why a try failed, or nothing was sent. */
export const webhookFailureSchema = z
  .enum([
    /** An answer that is no success, or a redirect, which is not followed. */
    'http-status',
    'redirect',
    'gone',
    'timeout',
    'dns',
    'tls',
    'connection',
    /** The host has an address that is not public. */
    'address-refused',
    'url-refused',
    /** The worker has no key, or another than the one that the secret was made from. */
    'key-unavailable',
    'webhook-paused',
    /** Its workflow has ended without a word, or its turn has not come for days. */
    'abandoned',
  ])
  .meta({ id: 'WebhookFailure' });
export type WebhookFailure = z.infer<typeof webhookFailureSchema>;

/** Scheme, host and the rest without user and password; whether the host may be reached is checked beside (infra/webhooks). */
const urlSchema = z
  .string()
  .trim()
  .max(2_000)
  .regex(
    /^[Hh][Tt][Tt][Pp][Ss]?:\/\/[^\s/?#@\\]+(?:[/?][^\s#]*)?$/,
    'expected an https:// URL without user, password and fragment',
  )
  .refine((text) => URL.canParse(text), 'expected an https:// URL');
const eventsSchema = z
  .array(webhookEventTypeSchema)
  .min(1)
  .max(webhookEventTypes.length)
  .transform((events) => webhookEventTypes.filter((event) => events.includes(event)));
const descriptionSchema = z.string().trim().max(500);
const wantedLabelsSchema = labelsSchema.refine(
  (labels) => Object.keys(labels).length <= 20,
  'expected at most 20 labels',
);

/** Body of `POST /api/v1/webhooks`. Without `tenantId` the token's; a token of all tenants then subscribes to all of them. */
export const createWebhookSchema = z
  .strictObject({
    url: urlSchema,
    events: optionalOr(eventsSchema, [...webhookEventTypes]),
    tenantId: optional(textSchema.max(200)),
    projectId: optional(textSchema.max(200)),
    labels: optional(wantedLabelsSchema),
    description: optional(descriptionSchema),
  })
  .meta({
    id: 'CreateWebhook',
    description:
      'Where signed messages go and about what. `events`: all when left out. `projectId` and `labels`: only what belongs to this project and has all of these labels.',
  });
export type CreateWebhook = z.infer<typeof createWebhookSchema>;

/** Body of `PATCH /api/v1/webhooks/:webhookId`: what is left out stays. */
export const updateWebhookSchema = z
  .strictObject({
    url: optional(urlSchema),
    events: optional(eventsSchema),
    labels: optional(wantedLabelsSchema),
    description: optional(descriptionSchema),
    state: optional(z.enum(['active', 'paused'])),
    endFormerSecret: optional(z.boolean()),
  })
  .meta({
    id: 'UpdateWebhook',
    description: 'What is left out stays. `endFormerSecret`: from now on only the new secret signs.',
  });
export type UpdateWebhook = z.infer<typeof updateWebhookSchema>;

/** Body of a rotation. */
export const rotateWebhookSecretSchema = z
  .strictObject({ formerValidMs: optionalOr(z.number().int().min(0).max(604_800_000), 86_400_000) })
  .meta({
    id: 'RotateWebhookSecret',
    description: '`formerValidMs`: how long the former secret signs too, beside the new one; default a day.',
  });

/** A subscription as the API answers it: never with its secret, which only the answers to its creation and its rotation hold. */
export const webhookSchema = z
  .object({
    id: z.string(),
    tenantId: z.string().nullable(),
    projectId: z.string().nullable(),
    url: z.string(),
    events: z.array(webhookEventTypeSchema),
    labels: labelsSchema,
    description: z.string().nullable(),
    state: webhookStateSchema,
    secretGeneration: z.number().int(),
    formerSecretUntil: z.string().nullable(),
    createdAt: z.string(),
    updatedAt: z.string(),
  })
  .meta({
    id: 'Webhook',
    description:
      'Who is told when runs and tasks end and when an agent waits for a person. `tenantId` null: of all tenants. `formerSecretUntil`: so long the secret before the last rotation signs too.',
  });
export type WebhookRecord = z.infer<typeof webhookSchema>;

/** With its secret, `whsec_` and base64: shown here and nowhere else. */
export const webhookWithSecretSchema = webhookSchema
  .extend({ secret: z.string() })
  .meta({ id: 'WebhookWithSecret', description: 'A webhook with its secret, which is not shown again.' });

/** One try. `status`: of the answer; null when there was none. */
export const webhookTrySchema = z
  .object({
    generation: z.number().int(),
    try: z.number().int(),
    at: z.string(),
    durationMs: z.number().int(),
    status: z.number().int().nullable(),
    failure: webhookFailureSchema.nullable(),
  })
  .meta({ id: 'WebhookTry' });
export type WebhookTry = z.infer<typeof webhookTrySchema>;

/** A message to one webhook. Its id is the header `webhook-id` of every try. */
export const webhookDeliverySchema = z
  .object({
    id: z.string(),
    webhookId: z.string(),
    type: webhookDeliveryTypeSchema,
    state: webhookDeliveryStateSchema,
    generation: z.number().int(),
    tries: z.number().int(),
    results: z.array(webhookTrySchema),
    data: jsonObjectSchema,
    createdAt: z.string(),
    endedAt: z.string().nullable(),
  })
  .meta({
    id: 'WebhookDelivery',
    description:
      'A message to one webhook; `id` is its header `webhook-id`. `tries`: of this generation, each redelivery is a new one; `results`: the last tries.',
  });
export type WebhookDeliveryRecord = z.infer<typeof webhookDeliverySchema>;

export const deletedWebhookSchema = z.object({ action: z.literal('webhook-deleted'), webhookId: z.string() });
