import { idPrefixes, lowestIdAt } from '../contract/ids.js';
import type { Queryable } from './pool.js';
import { isoTime } from './records.js';

const deliveredDays = 30;
const deadDays = 90;
/** Longer than any delivery takes: ten tries with at most six hours between them. */
const longestDeliveryDays = 4;
/** Rows of one statement, well below the statement limit. */
const batchRows = 1_000;
/** So many are counted. */
const mostCounted = 10_000;
const abandonedTry = `jsonb_build_object('generation', generation, 'try', 0, 'at', ${isoTime('now()')}, 'durationMs', 0,
  'status', null, 'failure', 'abandoned')`;

/**
 * Deletes the next bounded part of what is not kept: deliveries that ended long ago, and those of deleted webhooks with the webhooks themselves; and
 * buries deliveries whose workflow is gone or never had its turn. Answers whether there may be more.
 */
export async function cleanUpWebhooks(db: Queryable): Promise<boolean> {
  const counts: number[] = [];
  for (const [state, days] of [
    ['delivered', deliveredDays],
    ['dead', deadDays],
  ] as const) {
    const old = await db.query(
      `delete from webhook_deliveries where delivery_id in (
         select delivery_id from webhook_deliveries where state = $1 and ended_at < now() - $2 * interval '1 day'
          order by ended_at limit $3 for update skip locked)`,
      [state, days, batchRows],
    );
    counts.push(old.rowCount ?? 0);
  }
  const ofDeleted = await db.query(
    `delete from webhook_deliveries where delivery_id in (
       select d.delivery_id from webhooks w join webhook_deliveries d using (webhook_id)
        where w.deleted_at is not null limit $1 for update of d skip locked)`,
    [batchRows],
  );
  counts.push(ofDeleted.rowCount ?? 0);
  // A while later: a transaction that ended a run may still write what it read before the deletion.
  await db.query(
    `delete from webhooks w where w.deleted_at < now() - interval '1 hour'
       and not exists (select 1 from webhook_deliveries d where d.webhook_id = w.webhook_id)`,
  );
  const abandoned = await db.query(
    `update webhook_deliveries set state = 'dead', ended_at = now(), results = results || ${abandonedTry} where delivery_id in (
       select delivery_id from webhook_deliveries where state = 'sending' and dispatched_at < now() - $1 * interval '1 day' limit $2
        for update skip locked)`,
    [longestDeliveryDays, batchRows],
  );
  counts.push(abandoned.rowCount ?? 0);
  // A receiver that never answers gets less than is to be said to it: what has waited for days is a dead letter. A redelivery has an id of long ago.
  const stale = await db.query(
    `update webhook_deliveries set state = 'dead', ended_at = now(), results = results || ${abandonedTry} where delivery_id in (
       select delivery_id from webhook_deliveries where state = 'waiting' and delivery_id < $1 and generation = 1 order by delivery_id limit $2
        for update skip locked)`,
    [lowestIdAt(idPrefixes.webhookDelivery, Date.now() - longestDeliveryDays * 86_400_000), batchRows],
  );
  counts.push(stale.rowCount ?? 0);
  return counts.includes(batchRows);
}

/** Deliveries that have not ended, up to {@link mostCounted}. */
export async function countUnended(db: Queryable): Promise<number> {
  const found = await db.query<{ n: number }>(
    `select (select count(*) from (select 1 from webhook_deliveries where state = 'waiting' limit $1) w)::int
       + (select count(*) from (select 1 from webhook_deliveries where state = 'sending' limit $1) s)::int as n`,
    [mostCounted],
  );
  return found.rows[0]?.n ?? 0;
}
