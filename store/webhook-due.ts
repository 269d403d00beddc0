import { z } from 'zod';
import type { Queryable } from './pool.js';
import type { DeliveryGeneration } from './webhook-deliveries.js';

/** Deliveries of one webhook that are under way at the same time, and of all webhooks of one tenant (those of all tenants together count as one). */
export const mostOfWebhook = 10;
export const mostOfTenant = 30;
/**
 * Under way is what has no answer yet, and what may keep a slot soon again: the pauses after the first tries are short. Of the latter only what was
 * slow: a refusal within a moment costs nobody else anything.
 */
const earlyTries = 4;
const slowMs = 1_000;
/** Afterwards it counts no more, so that workflows that somebody has ended by hand, or a long `Retry-After`, hold up nothing for good. */
const countedMinutes = 15;

const dueSchema = z.object({
  deliveryId: z.string(),
  generation: z.number(),
  tenantId: z.string().nullable(),
});
/** A delivery that no workflow has begun yet. */
export type DueDelivery = z.infer<typeof dueSchema>;

/** Whose webhook it is; no tenant has the name of those of all tenants. */
const tenant = `coalesce(w.tenant_id, '')`;
/** Webhooks with something that waits are found by jumps in the index: a long line of one of them costs as little as a short one. Exported for the look at its plan. */
export const dueText = `with recursive waiting (webhook_id) as (
    (select webhook_id from webhook_deliveries where state = 'waiting' order by webhook_id limit 1)
    union all
    select (select d.webhook_id from webhook_deliveries d where d.state = 'waiting' and d.webhook_id > former.webhook_id
             order by d.webhook_id limit 1)
      from waiting former where former.webhook_id is not null),
  under_way as (
    select d.webhook_id, ${tenant} as tenant, count(*) as deliveries from webhook_deliveries d left join webhooks w using (webhook_id)
     where d.state = 'sending' and d.dispatched_at > now() - ${countedMinutes} * interval '1 minute'
       and (d.tries = 0 or (d.tries < ${earlyTries} and (d.results -> -1 ->> 'durationMs')::int > ${slowMs}))
     group by d.webhook_id, tenant),
  of_tenants as (select tenant, sum(deliveries) as deliveries from under_way group by tenant),
  in_line as (
    select d.*, ${tenant} as tenant, d.number + coalesce(u.deliveries, 0) as place
      from waiting
      cross join lateral (
        select delivery_id, generation, data, row_number() over (order by delivery_id) as number from webhook_deliveries
         where webhook_id = waiting.webhook_id and state = 'waiting' order by delivery_id limit ${mostOfWebhook}) d
      left join webhooks w on w.webhook_id = waiting.webhook_id
      left join under_way u on u.webhook_id = waiting.webhook_id
     where w.deleted_at is null and d.number + coalesce(u.deliveries, 0) <= ${mostOfWebhook}),
  placed as (
    select i.*, row_number() over (partition by i.tenant order by i.place, i.delivery_id) + coalesce(t.deliveries, 0) as tenant_place
      from in_line i left join of_tenants t using (tenant))
  select delivery_id as "deliveryId", generation, data ->> 'tenantId' as "tenantId" from placed
   where tenant_place <= ${mostOfTenant} order by tenant_place, delivery_id limit $1`;

/**
 * Deliveries that wait for their workflow and may have it now: of each tenant and each webhook the oldest, first those of which least is under way. Nobody
 * has more than {@link mostOfTenant} and {@link mostOfWebhook} under way, give or take what several workers begin at the same time.
 */
export async function dueDeliveries(db: Queryable, limit: number): Promise<DueDelivery[]> {
  const found = await db.query(dueText, [limit]);
  return found.rows.map((row) => dueSchema.parse(row));
}

/** The workflow of a generation has been started. One that is further already stays there. */
export async function noteDispatched(
  db: Queryable,
  { deliveryId, generation }: DeliveryGeneration,
): Promise<void> {
  await db.query(
    `update webhook_deliveries set state = 'sending', dispatched_at = now() where delivery_id = $1 and generation = $2 and state = 'waiting'`,
    [deliveryId, generation],
  );
}
