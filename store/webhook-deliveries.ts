import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import { idPrefixes } from '../contract/ids.js';
import { jsonObjectSchema } from '../contract/json.js';
import type { Page } from '../contract/queries.js';
import {
  type WebhookDeliveryRecord,
  type WebhookDeliveryState,
  type WebhookFailure,
  type WebhookRecord,
  type WebhookTry,
  webhookDeliverySchema,
  webhookDeliveryTypeSchema,
  webhookStateSchema,
} from '../contract/webhooks.js';
import { Conditions, cutPage, decodeCursor, idKeySchema } from './keyset.js';
import { newId } from './new-id.js';
import type { Queryable } from './pool.js';
import { isoTime } from './records.js';

/** Tries of a delivery that are kept; of more the oldest go. */
const keptTries = 20;
/** Tests of a webhook that have not ended: more say nothing new. */
export const mostTests = 10;

const columns = `d.delivery_id as id, d.webhook_id as "webhookId", d.event_type as type, d.state, d.generation, d.tries, d.results, d.data,
  ${isoTime('d.created_at')} as "createdAt", ${isoTime('d.ended_at')} as "endedAt"`;
const parseDelivery = (row: unknown): WebhookDeliveryRecord => webhookDeliverySchema.parse(row);
const keyset = { list: 'webhook-deliveries', key: idKeySchema };
/** What somebody may still change: a delivery that has not ended, of the generation that the writer knows. */
const underWay = `delivery_id = $1 and generation = $2 and state in ('waiting', 'sending')`;

/** One generation of a delivery. */
export interface DeliveryGeneration {
  readonly deliveryId: string;
  readonly generation: number;
}

/** A page of what is sent to a webhook, the newest first: their ids sort by time. The caller has looked whose webhook it is. */
export async function listDeliveries(
  db: Queryable,
  webhookId: string,
  query: {
    readonly limit: number;
    readonly cursor?: string | undefined;
    readonly state?: WebhookDeliveryState | undefined;
  },
): Promise<Page<WebhookDeliveryRecord>> {
  const after = decodeCursor(keyset, query.cursor);
  const where = new Conditions([query.limit + 1]);
  where.equal('d.webhook_id', webhookId);
  where.equal('d.state', query.state);
  if (after !== undefined) where.add(`d.delivery_id < ${where.parameter(after[0])}`);
  const found = await db.query(
    `select ${columns} from webhook_deliveries d where ${where.toString()} order by d.delivery_id desc limit $1`,
    where.values,
  );
  return cutPage(found.rows.map(parseDelivery), query.limit, {
    list: keyset.list,
    keyOf: ({ id }) => [id],
    itemOf: (item) => item,
  });
}

/**
 * Stores a message that is about nothing but itself.
 *
 * @throws AgentRunError `conflict` while {@link mostTests} of them have not ended.
 */
export async function createTestDelivery(
  db: Queryable,
  { id: webhookId, tenantId, projectId }: WebhookRecord,
): Promise<WebhookDeliveryRecord> {
  const inserted = await db.query(
    `insert into webhook_deliveries as d (delivery_id, webhook_id, event_type, source_id, data)
     select $1, $2, 'webhook.test', $1, $3::jsonb
      where (select count(*) from webhook_deliveries t
              where t.webhook_id = $2 and t.event_type = 'webhook.test' and t.state in ('waiting', 'sending')) < $4
     returning ${columns}`,
    [newId(idPrefixes.webhookDelivery), webhookId, JSON.stringify({ tenantId, projectId }), mostTests],
  );
  if (inserted.rows.length > 0) return parseDelivery(inserted.rows[0]);
  throw new AgentRunError(
    'conflict',
    `${mostTests} tests of webhook ${webhookId} are under way: see what becomes of them first`,
    {
      details: { limit: mostTests },
    },
  );
}

/**
 * Has a delivery that has ended sent once more, as its next generation; one that is under way is answered as it is.
 *
 * @throws AgentRunError `not-found`.
 */
export async function redeliver(
  db: Queryable,
  webhookId: string,
  deliveryId: string,
): Promise<WebhookDeliveryRecord> {
  const again = await db.query(
    `update webhook_deliveries d set state = 'waiting', generation = generation + 1, tries = 0, dispatched_at = null, ended_at = null
      where delivery_id = $1 and webhook_id = $2 and state in ('delivered', 'dead') returning ${columns}`,
    [deliveryId, webhookId],
  );
  if (again.rows.length > 0) return parseDelivery(again.rows[0]);
  const found = await db.query(
    `select ${columns} from webhook_deliveries d where delivery_id = $1 and webhook_id = $2`,
    [deliveryId, webhookId],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `delivery ${deliveryId} does not exist`);
  return parseDelivery(found.rows[0]);
}

const outgoingSchema = z.object({
  webhookId: z.string(),
  type: webhookDeliveryTypeSchema,
  data: jsonObjectSchema,
  createdAt: z.string(),
  url: z.string(),
  webhookState: webhookStateSchema,
  secretGenerations: z.array(z.number()),
  keyFingerprint: z.string(),
});
/** What a try needs; `secretGenerations`: those that sign now, the newest first. */
export type OutgoingDelivery = z.infer<typeof outgoingSchema>;

/** A delivery that is to be sent; undefined: it has ended, or it or its webhook is deleted. */
export async function findOutgoing(
  db: Queryable,
  { deliveryId, generation }: DeliveryGeneration,
): Promise<OutgoingDelivery | undefined> {
  const found = await db.query(
    `select d.webhook_id as "webhookId", d.event_type as type, d.data, ${isoTime('d.created_at')} as "createdAt", w.url,
       w.state as "webhookState", w.key_fingerprint as "keyFingerprint",
       case when w.former_secret_until > now() then array[w.secret_generation, w.secret_generation - 1]
         else array[w.secret_generation] end as "secretGenerations"
     from webhook_deliveries d join webhooks w on w.webhook_id = d.webhook_id and w.deleted_at is null
     where d.delivery_id = $1 and d.generation = $2 and d.state in ('waiting', 'sending')`,
    [deliveryId, generation],
  );
  return found.rows.length === 0 ? undefined : outgoingSchema.parse(found.rows[0]);
}

/** Stores a try and what the delivery is after it: `sending` when another follows. */
export async function recordTry(
  db: Queryable,
  { deliveryId, generation }: DeliveryGeneration,
  tried: Omit<WebhookTry, 'generation' | 'at'>,
  state: 'sending' | 'delivered' | 'dead',
): Promise<void> {
  await db.query(
    `update webhook_deliveries set state = $3, tries = greatest(tries, $4),
       ended_at = case when $3 in ('delivered', 'dead') then now() end,
       results = case when jsonb_array_length(results) >= ${keptTries} then results - 0 else results end ||
         jsonb_build_object('generation', $2::int, 'try', $4::int, 'at', ${isoTime('now()')}, 'durationMs', $5::int, 'status', $6::int, 'failure', $7::text)
      where ${underWay}`,
    [deliveryId, generation, state, tried.try, tried.durationMs, tried.status, tried.failure],
  );
}

/** Gives a generation up without a try of its own: it was not sent for this reason, or its last try said nothing. */
export async function buryDelivery(
  db: Queryable,
  { deliveryId, generation }: DeliveryGeneration,
  failure: WebhookFailure,
): Promise<void> {
  await recordTry(db, { deliveryId, generation }, { try: 0, durationMs: 0, status: null, failure }, 'dead');
}
