import { beforeEach, describe, expect, it } from 'vitest';
import { AgentRunError } from '../../contract/errors.js';
import { idPrefixes, lowestIdAt } from '../../contract/ids.js';
import type { WebhookDeliveryRecord } from '../../contract/webhooks.js';
import { newId } from '../../store/new-id.js';
import type { Pool } from '../../store/pool.js';
import { cleanUpWebhooks, countUnended } from '../../store/webhook-cleanup.js';
import {
  createTestDelivery,
  findOutgoing,
  listDeliveries,
  recordTry,
  redeliver,
} from '../../store/webhook-deliveries.js';
import {
  dueDeliveries,
  dueText,
  mostOfTenant,
  mostOfWebhook,
  noteDispatched,
} from '../../store/webhook-due.js';
import { matchingWebhooks } from '../../store/webhook-outbox.js';
import {
  createWebhook,
  deleteWebhook,
  mostWebhooks,
  noteGone,
  rotateSecret,
  updateWebhook,
} from '../../store/webhooks.js';
import { usePostgres } from '../support/use-postgres.js';
import { storeWebhook } from '../support/webhook-rows.js';

const postgres = await usePostgres();
let pool: Pool;
beforeEach(async () => {
  ({ pool } = await postgres.newDatabase());
});

const tried = { try: 1, durationMs: 5, status: 500, failure: 'http-status' } as const;
const taken = { try: 1, durationMs: 5, status: 200, failure: null } as const;
async function deliver(webhookId: string): Promise<WebhookDeliveryRecord> {
  const { items } = await listDeliveries(pool, webhookId, { limit: 1 });
  const [delivery] = items;
  if (delivery === undefined) throw new Error('no delivery');
  return delivery;
}
const generationOf = ({ id, generation }: WebhookDeliveryRecord) => ({ deliveryId: id, generation });

describe('a delivery', () => {
  it('waits, is sent and ends; a redelivery is another generation of the same id, and the former changes nothing any more', async () => {
    const webhook = await storeWebhook(pool);
    const first = generationOf(await createTestDelivery(pool, webhook));
    expect(await dueDeliveries(pool, 10)).toEqual([{ ...first, tenantId: 'acme' }]);
    await noteDispatched(pool, first);
    expect(await dueDeliveries(pool, 10)).toEqual([]);
    await recordTry(pool, first, tried, 'sending');
    expect(await redeliver(pool, webhook.id, first.deliveryId)).toMatchObject({
      state: 'sending',
      generation: 1,
    });
    await recordTry(pool, first, { ...tried, try: 2 }, 'dead');
    expect(await findOutgoing(pool, first)).toBeUndefined();

    const again = await redeliver(pool, webhook.id, first.deliveryId);
    expect(again).toMatchObject({
      id: first.deliveryId,
      state: 'waiting',
      generation: 2,
      tries: 0,
      endedAt: null,
    });
    await recordTry(pool, first, { ...taken, try: 3 }, 'delivered');
    expect(await deliver(webhook.id)).toMatchObject({ state: 'waiting', generation: 2 });
    await recordTry(pool, generationOf(again), taken, 'delivered');
    const ended = await deliver(webhook.id);
    expect(ended).toMatchObject({ state: 'delivered', generation: 2, tries: 1, endedAt: expect.any(String) });
    expect(
      ended.results.map(({ generation, try: number, failure }) => [generation, number, failure]),
    ).toEqual([
      [1, 1, 'http-status'],
      [1, 2, 'http-status'],
      [2, 1, null],
    ]);
    // A look of a worker that came late.
    await noteDispatched(pool, generationOf(again));
    expect((await deliver(webhook.id)).state).toBe('delivered');
  });

  it('keeps its last 20 tries', async () => {
    const webhook = await storeWebhook(pool);
    const delivery = generationOf(await createTestDelivery(pool, webhook));
    for (let number = 1; number <= 25; number += 1)
      await recordTry(pool, delivery, { ...tried, try: number }, 'sending');
    const { results, tries } = await deliver(webhook.id);
    expect(results.map((one) => one.try)).toEqual(Array.from({ length: 20 }, (_, index) => index + 6));
    expect(tries).toBe(25);
  });

  it('of another webhook, or of a deleted one, is not there', async () => {
    const [webhook, other] = [await storeWebhook(pool), await storeWebhook(pool)];
    const delivery = generationOf(await createTestDelivery(pool, webhook));
    await expect(redeliver(pool, other.id, delivery.deliveryId)).rejects.toThrow('does not exist');
    await deleteWebhook(pool, webhook.id, 'acme');
    expect(await findOutgoing(pool, delivery)).toBeUndefined();
  });

  it('is listed in pages by state, the newest first, and by no cursor of another list', async () => {
    const webhook = await storeWebhook(pool);
    for (let count = 0; count < 5; count += 1) {
      const delivery = await createTestDelivery(pool, webhook);
      if (count % 2 === 0) await recordTry(pool, generationOf(delivery), tried, 'dead');
    }
    const first = await listDeliveries(pool, webhook.id, { limit: 2, state: 'dead' });
    const rest = await listDeliveries(pool, webhook.id, {
      limit: 2,
      state: 'dead',
      cursor: first.nextCursor ?? '',
    });
    const ids = [...first.items, ...rest.items].map(({ id }) => id);
    expect(ids).toHaveLength(3);
    expect(ids).toEqual([...ids].sort().reverse());
    expect([first.hasMore, rest.hasMore]).toEqual([true, false]);
    const foreign = Buffer.from(JSON.stringify([1, 'runs', ['run_1']])).toString('base64url');
    await expect(listDeliveries(pool, webhook.id, { limit: 2, cursor: foreign })).rejects.toThrow(
      AgentRunError,
    );
  });
});

describe('deliveries that are due', () => {
  /** Lets so many messages of a webhook wait, as an outbox does. */
  const fill = async (webhookId: string, count: number) => {
    for (let made = 0; made < count; made += 1)
      await pool.query(
        `insert into webhook_deliveries (delivery_id, webhook_id, event_type, source_id, data) values ($1, $2, 'run.failed', $1, '{}')`,
        [newId(idPrefixes.webhookDelivery), webhookId],
      );
  };
  const ofWhom = async (limit = 200) => {
    const due = await dueDeliveries(pool, limit);
    const found = await pool.query<{ webhook_id: string }>(
      `select d.webhook_id from unnest($1::text[]) with ordinality as n(id, place) join webhook_deliveries d on d.delivery_id = n.id order by n.place`,
      [due.map(({ deliveryId }) => deliveryId)],
    );
    return found.rows.map((row) => row.webhook_id);
  };
  const begin = async (limit: number) => {
    const due = await dueDeliveries(pool, limit);
    for (const one of due) await noteDispatched(pool, one);
    return due;
  };

  it('are taken in turn, whoever has come first and however much waits', async () => {
    const [busy, late, all] = [
      await storeWebhook(pool),
      await storeWebhook(pool),
      await storeWebhook(pool, { tenantId: null }),
    ];
    await fill(busy.id, 50);
    await fill(late.id, 2);
    await fill(all.id, 1);
    expect((await ofWhom(3)).toSorted()).toEqual([busy.id, late.id, all.id].toSorted());
    const first = await ofWhom();
    expect(first.filter((id) => id === busy.id)).toHaveLength(mostOfWebhook);
    expect(first).toHaveLength(mostOfWebhook + 3);
  });

  it('are held back while as many of their webhook are under way, and of no other', async () => {
    const [busy, other] = [await storeWebhook(pool), await storeWebhook(pool)];
    await fill(busy.id, 30);
    const begun = await begin(200);
    expect(begun).toHaveLength(mostOfWebhook);
    expect(await ofWhom()).toEqual([]);
    await fill(other.id, 2);
    expect(await ofWhom()).toEqual([other.id, other.id]);

    const [ended, slow, refused, late, forgotten] = begun;
    if (ended === undefined || slow === undefined || refused === undefined || late === undefined)
      throw new Error('ten have begun');
    await recordTry(pool, ended, taken, 'delivered');
    // The next try comes soon, and may take as long again.
    await recordTry(pool, slow, { ...tried, durationMs: 10_000, failure: 'timeout' }, 'sending');
    expect(await ofWhom()).toHaveLength(3);
    await recordTry(pool, refused, tried, 'sending');
    await recordTry(pool, late, { ...tried, try: 4, durationMs: 10_000, failure: 'timeout' }, 'sending');
    expect(await ofWhom()).toHaveLength(5);
    await pool.query(
      `update webhook_deliveries set dispatched_at = now() - interval '16 minutes' where delivery_id = $1`,
      [forgotten?.deliveryId],
    );
    expect(await ofWhom()).toHaveLength(6);
  });

  it('are no more of one tenant than its share, and those of which least is under way come first', async () => {
    const mine = [await storeWebhook(pool), await storeWebhook(pool), await storeWebhook(pool)];
    for (const { id } of mine) await fill(id, mostOfTenant);
    expect(await begin(200)).toHaveLength(mostOfTenant);
    const [another, theirs] = [await storeWebhook(pool), await storeWebhook(pool, { tenantId: 'other' })];
    await fill(another.id, 1);
    await fill(theirs.id, 1);
    expect(await ofWhom()).toEqual([theirs.id]);
    await pool.query(
      `update webhook_deliveries set state = 'delivered', ended_at = now() where delivery_id =
         (select min(delivery_id) from webhook_deliveries where state = 'sending')`,
    );
    expect((await ofWhom()).toSorted()).toEqual([another.id, theirs.id].toSorted());
  });

  it('of a deleted webhook are not; of one that is not there any more they are, so that they end', async () => {
    const [deleted, missing] = [await storeWebhook(pool), await storeWebhook(pool)];
    await fill(deleted.id, 1);
    await fill(missing.id, 1);
    await deleteWebhook(pool, deleted.id, 'acme');
    await pool.query('delete from webhooks where webhook_id = $1', [missing.id]);
    expect(await ofWhom()).toEqual([missing.id]);
  });
});

describe('a webhook', () => {
  it('is one of at most fifty of its tenant, also when many are made at once', async () => {
    for (let count = 2; count < mostWebhooks; count += 1) await storeWebhook(pool);
    const made = await Promise.allSettled(Array.from({ length: 6 }, () => storeWebhook(pool)));
    expect(made.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    await expect(storeWebhook(pool)).rejects.toMatchObject({ failureKind: 'conflict' });
    await storeWebhook(pool, { tenantId: 'other' });
    await storeWebhook(pool, { tenantId: null });
  });

  it('signs with two secrets for a while after a rotation, and with one when the key was changed', async () => {
    const { id } = await storeWebhook(pool);
    await createTestDelivery(pool, { ...(await storeWebhook(pool)), id });
    const [due] = await dueDeliveries(pool, 1);
    if (due === undefined) throw new Error('a delivery waits');
    const generations = async () => (await findOutgoing(pool, due))?.secretGenerations;
    const rotate = (formerValidMs: number, keyFingerprint = 'key') =>
      rotateSecret(pool, { webhookId: id, tenantId: 'acme' }, { formerValidMs, keyFingerprint }, null);
    expect(await generations()).toEqual([1]);
    await rotate(60_000);
    expect(await generations()).toEqual([2, 1]);
    await updateWebhook(pool, id, 'acme', { endFormerSecret: true });
    expect(await generations()).toEqual([2]);
    await rotate(60_000);
    await pool.query(`update webhooks set former_secret_until = now() - interval '1 second'`);
    expect(await generations()).toEqual([3]);
    await rotate(0);
    expect(await generations()).toEqual([4]);
    await rotate(60_000, 'another key');
    expect(await generations()).toEqual([5]);
  });

  it('is gone only at the URL that said so', async () => {
    const { id, url } = await storeWebhook(pool);
    const state = async () => (await updateWebhook(pool, id, 'acme', {})).state;
    await noteGone(pool, id, 'https://hooks.example.com/former');
    expect(await state()).toBe('active');
    await noteGone(pool, id, url);
    expect(await state()).toBe('gone');
    await updateWebhook(pool, id, 'acme', { state: 'active' });
    expect(await state()).toBe('active');
  });

  it('answers a repeated creation as it was made', async () => {
    const body = { url: 'https://hooks.example.com/x', events: ['run.failed' as const] };
    const make = (tenantId: string | null) =>
      createWebhook(pool, body, { tenantId, keyFingerprint: 'key' }, 'a key');
    const first = await make('acme');
    expect(first.replayed).toBe(false);
    expect(await make('acme')).toEqual({ ...first, replayed: true });
    expect((await make(null)).webhook.id).not.toBe(first.webhook.id);
  });
});

describe('what is not kept', () => {
  it('is deleted: the delivered after 30 days, the dead after 90, those of deleted webhooks and then these', async () => {
    const [kept, deleted] = [await storeWebhook(pool), await storeWebhook(pool)];
    const made: Record<string, string> = {};
    for (const [name, state, days] of [
      ['young', 'delivered', 29],
      ['old', 'delivered', 31],
      ['letter', 'dead', 31],
      ['old letter', 'dead', 91],
    ] as const) {
      const { id } = await createTestDelivery(pool, kept);
      made[name] = id;
      await pool.query(
        `update webhook_deliveries set state = $2, ended_at = now() - $3 * interval '1 day' where delivery_id = $1`,
        [id, state, days],
      );
    }
    made.waiting = (await createTestDelivery(pool, kept)).id;
    const abandoned = await createTestDelivery(pool, kept);
    await pool.query(
      `update webhook_deliveries set state = 'sending', dispatched_at = now() - interval '5 days' where delivery_id = $1`,
      [abandoned.id],
    );
    await createTestDelivery(pool, deleted);
    // A line that is longer than its receiver is quick.
    const stale = lowestIdAt(idPrefixes.webhookDelivery, Date.now() - 5 * 86_400_000);
    await pool.query(
      `insert into webhook_deliveries (delivery_id, webhook_id, event_type, source_id, data) values ($1, $2, 'run.failed', $1, '{}')`,
      [stale, kept.id],
    );
    expect(await countUnended(pool)).toBe(4);
    await deleteWebhook(pool, deleted.id, 'acme');
    expect(await cleanUpWebhooks(pool)).toBe(false);
    const left = await pool.query<{ delivery_id: string }>('select delivery_id from webhook_deliveries');
    const expected = [made.young, made.letter, made.waiting, abandoned.id, stale];
    expect(new Set(left.rows.map((row) => row.delivery_id))).toEqual(new Set(expected));
    for (const id of [abandoned.id, stale])
      expect(await redeliver(pool, kept.id, id)).toMatchObject({
        results: [expect.objectContaining({ failure: 'abandoned' })],
      });
    await cleanUpWebhooks(pool);
    // Its redelivery is new, although its id is not.
    expect(await redeliver(pool, kept.id, stale)).toMatchObject({ state: 'waiting', generation: 2 });
    await pool.query(
      `update webhooks set deleted_at = deleted_at - interval '2 hours' where deleted_at is not null`,
    );
    await cleanUpWebhooks(pool);
    expect((await pool.query('select webhook_id as id from webhooks')).rows).toEqual([{ id: kept.id }]);
  });
});

describe('what is asked often', () => {
  it('reads by an index, whatever is stored beside', async () => {
    await pool.query(`insert into webhooks (webhook_id, tenant_id, url, events, key_fingerprint)
      select 'whk_' || n, 'tenant-' || n % 200, 'https://x', '{run.failed}', 'key' from generate_series(1, 8000) n`);
    await pool.query(`set statement_timeout = 0; insert into webhook_deliveries (delivery_id, webhook_id, event_type, source_id, run_id, data, state, ended_at)
      select 'dlv_' || lpad(n::text, 8, '0'), 'whk_' || n % 500, 'run.failed', 'run_' || n, 'run_' || n, '{}',
        case when n % 1000 = 0 then 'dead' when n > 29990 then 'waiting' else 'delivered' end, case when n <= 29990 then now() end
      from generate_series(1, 30000) n`);
    await pool.query('analyze webhooks; analyze webhook_deliveries');
    const planOf = async (text: string, values: unknown[] = []) =>
      (await pool.query<{ 'QUERY PLAN': string }>(`explain ${text}`, values)).rows
        .map((row) => row['QUERY PLAN'])
        .join('\n');
    const end = await planOf(matchingWebhooks.runEnd, [['run_1']]);
    expect(end).toContain('webhooks_by_tenant');
    expect(end).not.toMatch(/Seq Scan on webhooks/);
    const plans: [string, string, unknown[]?][] = [
      [
        'webhook_deliveries_waiting',
        `select delivery_id from webhook_deliveries where state = 'waiting' and delivery_id < 'dlv_1' and generation = 1 order by delivery_id limit 1000`,
      ],
      [
        // Of few deliveries either index of theirs.
        'webhook_deliveries_by_',
        `select * from webhook_deliveries where webhook_id = 'whk_7' order by delivery_id desc limit 50`,
      ],
      [
        'webhook_deliveries_by_state',
        `select * from webhook_deliveries where webhook_id = 'whk_0' and state = 'dead' order by delivery_id desc limit 50`,
      ],
      [
        'webhook_deliveries_by_run',
        `delete from webhook_deliveries where run_id = 'run_7' and state in ('delivered', 'dead')`,
      ],
      [
        'webhook_deliveries_ended',
        `select delivery_id from webhook_deliveries where state = 'delivered' and ended_at < now() - interval '30 days' order by ended_at limit 1000`,
      ],
    ];
    const due = await planOf(dueText, [200]);
    for (const index of ['waiting_by_webhook', 'sending'])
      expect(due).toContain(`webhook_deliveries_${index}`);
    expect(due).not.toContain('Seq Scan on webhook_deliveries');
    for (const [index, text, values] of plans) expect(await planOf(text, values)).toContain(index);
  });
});
