import { MockActivityEnvironment } from '@temporalio/testing';
import { Webhook } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createWebhookActivities } from '../../activities/webhooks.js';
import { idPrefixes } from '../../contract/ids.js';
import type { WebhookDeliveryRecord, WebhookRecord } from '../../contract/webhooks.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { WebhookKey } from '../../infra/webhooks/webhook-key.js';
import { Listener } from '../../store/listener.js';
import { newId } from '../../store/new-id.js';
import { Notifier } from '../../store/notifier.js';
import type { Pool } from '../../store/pool.js';
import { finishTurn } from '../../store/turn-steps.js';
import { createTestDelivery, listDeliveries, redeliver } from '../../store/webhook-deliveries.js';
import { mostOfWebhook } from '../../store/webhook-due.js';
import { getWebhook, rotateSecret, updateWebhook } from '../../store/webhooks.js';
import { WebhookDispatcher } from '../../worker/webhook-dispatcher.js';
import { storeTurn } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';
import { type Received, startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.js';
import { storeWebhook } from '../support/webhook-rows.js';
import { FakeWorld } from '../workflows/fake-activities.js';
import { Harness, taskQueue } from '../workflows/harness.js';

const key = new WebhookKey('a key of a test, which is long enough');
const logger = createLogger({ name: 'test', level: 'silent' });
const postgres = await usePostgres();
let harness: Harness;
let receiver: WebhookReceiver;
let pool: Pool;
let stopWorkers: () => Promise<void>;
let dispatcher: WebhookDispatcher;
let notifier: Notifier;
let listener: Listener;
/** What the activity knows; a test changes it. */
const settings: { key: WebhookKey | undefined; allowedHosts: string[] } = { key, allowedHosts: [] };

beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(async () => {
  await harness?.stop();
});
beforeEach(async () => {
  const database = await postgres.newDatabase();
  ({ pool } = database);
  receiver = await startWebhookReceiver();
  Object.assign(settings, { key, allowedHosts: [receiver.host] });
  const deliver = (): ReturnType<typeof createWebhookActivities> =>
    createWebhookActivities({
      pool,
      key: settings.key,
      publicUrl: 'https://agentrun.example.com/base',
      post: { allowedHosts: settings.allowedHosts, timeoutMs: 2_000 },
      retryDelayMs: () => 1,
      onRecorded: () => notifier.notify('agentrun_webhook', 'due'),
    });
  const workers = await harness.workers(
    new FakeWorld().activities({
      deliverWebhook: (input) => deliver().deliverWebhook(input),
      buryWebhook: (input) => deliver().buryWebhook(input),
    }),
  );
  const running = Promise.all(Object.values(workers).map((worker) => worker.run()));
  stopWorkers = async () => {
    for (const worker of Object.values(workers)) worker.shutdown();
    await running;
  };
  listener = new Listener(database.url, logger);
  listener.start();
  notifier = new Notifier(pool, logger);
  dispatcher = new WebhookDispatcher({
    pool,
    listener,
    client: harness.client,
    logger,
    onUnended: () => undefined,
    taskQueue,
  });
});
afterEach(async () => {
  await dispatcher.stop();
  await stopWorkers();
  await notifier.close();
  await listener.close();
  await receiver.stop();
});

const subscribe = () => storeWebhook(pool, { url: receiver.url, keyFingerprint: key.fingerprint });
/** Lets so many messages wait, as an outbox does. */
async function fill(webhookId: string, count: number, data: Record<string, string> = {}): Promise<void> {
  const ids = Array.from({ length: count }, () => newId(idPrefixes.webhookDelivery));
  await pool.query(
    `insert into webhook_deliveries (delivery_id, webhook_id, event_type, source_id, data)
     select id, $2, 'run.failed', id, $3 from unnest($1::text[]) as n(id)`,
    [ids, webhookId, JSON.stringify(data)],
  );
}
async function deliveries({ id }: Pick<WebhookRecord, 'id'>): Promise<WebhookDeliveryRecord[]> {
  return (await listDeliveries(pool, id, { limit: 100 })).items;
}
/** Waits for the end of the only delivery. */
async function ended(webhook: Pick<WebhookRecord, 'id'>, generation = 1): Promise<WebhookDeliveryRecord> {
  await expect
    .poll(async () => (await deliveries(webhook))[0], { timeout: 40_000, interval: 50 })
    .toMatchObject({ state: expect.stringMatching(/delivered|dead/), generation });
  const [delivery] = await deliveries(webhook);
  if (delivery === undefined) throw new Error('no delivery');
  return delivery;
}
const messageSchema = z.object({ type: z.string(), timestamp: z.string(), data: z.looseObject({}) });
/** What a receiver that knows this generation's secret makes of a message. */
const verified = (webhook: Pick<WebhookRecord, 'id'>, generation: number, message: Received | undefined) =>
  messageSchema.parse(
    new Webhook(key.secret(webhook.id, generation)).verify(message?.body ?? '', { ...message?.headers }),
  );
const outcomes = ({ results }: WebhookDeliveryRecord) =>
  results.map(({ generation, try: number, status, failure }) => [generation, number, status, failure]);

describe('the end of a run', () => {
  it('is told within seconds, signed, with links and without words', async () => {
    dispatcher.start();
    const webhook = await subscribe();
    const { runId, sessionId } = await storeTurn(pool, { prompt: 'WORDS' });
    await finishTurn(pool, runId, {
      terminalStatus: 'failed',
      failureKind: 'agent-error',
      failureMessage: 'WORDS',
    });
    notifier.notify('agentrun_webhook', 'due');
    const delivery = await ended(webhook);
    expect(delivery).toMatchObject({ state: 'delivered', tries: 1 });
    expect(receiver.received).toHaveLength(1);
    const [message] = receiver.received;
    expect(message?.headers).toMatchObject({ 'webhook-id': delivery.id, 'content-type': 'application/json' });
    expect(verified(webhook, 1, message)).toEqual({
      type: 'run.failed',
      timestamp: delivery.createdAt,
      data: {
        ...delivery.data,
        webhookId: webhook.id,
        links: {
          run: `https://agentrun.example.com/base/api/v1/runs/${runId}`,
          session: `https://agentrun.example.com/base/api/v1/sessions/${sessionId}`,
        },
      },
    });
    expect(message?.body).not.toContain('WORDS');
    const { events } = await harness.client.workflow.getHandle(`webhook/${delivery.id}/1`).fetchHistory();
    // Nothing of the message is in the history.
    expect(JSON.stringify(events)).not.toContain(runId);
  });

  it('is told once, although the workflow was started and not marked, or a late worker starts it again', async () => {
    const webhook = await subscribe();
    const { id } = await createTestDelivery(pool, webhook);
    await Promise.all([dispatcher.look(), dispatcher.look()]);
    await ended(webhook);
    await pool.query(`update webhook_deliveries set state = 'waiting' where delivery_id = $1`, [id]);
    expect(await dispatcher.look()).toBe(1);
    expect((await deliveries(webhook))[0]).toMatchObject({ state: 'sending' });
    expect(receiver.received).toHaveLength(1);
  });
});

describe('a receiver that does not take a message', () => {
  it('gets it again under the same id until it does', async () => {
    const webhook = await subscribe();
    receiver.answers.push(500, 302);
    await createTestDelivery(pool, webhook);
    await dispatcher.look();
    const delivery = await ended(webhook);
    expect(delivery.state).toBe('delivered');
    expect(outcomes(delivery)).toEqual([
      [1, 1, 500, 'http-status'],
      [1, 2, 302, 'redirect'],
      [1, 3, 200, null],
    ]);
    expect(receiver.received.map(({ headers }) => headers['webhook-id'])).toEqual(Array(3).fill(delivery.id));
    expect(new Set(receiver.received.map(({ body }) => body)).size).toBe(1);
    for (const message of receiver.received) expect(verified(webhook, 1, message).type).toBe('webhook.test');
  });

  it('finds it among the dead letters after ten tries, and gets it once more when somebody says so', async () => {
    const webhook = await subscribe();
    receiver.answers.push(...Array<number>(10).fill(503));
    const { id } = await createTestDelivery(pool, webhook);
    await dispatcher.look();
    const dead = await ended(webhook);
    expect(dead).toMatchObject({ id, state: 'dead', tries: 10, endedAt: expect.any(String) });
    expect(receiver.received).toHaveLength(10);
    await redeliver(pool, webhook.id, id);
    await dispatcher.look();
    const again = await ended(webhook, 2);
    expect(again).toMatchObject({ id, state: 'delivered', tries: 1 });
    expect(outcomes(again).at(-1)).toEqual([2, 1, 200, null]);
    expect(receiver.received.at(-1)?.headers['webhook-id']).toBe(id);
  });

  it('is asked no more after 410, until somebody makes the webhook active again', async () => {
    const webhook = await subscribe();
    receiver.answers.push(410);
    await createTestDelivery(pool, webhook);
    await dispatcher.look();
    expect(outcomes(await ended(webhook))).toEqual([[1, 1, 410, 'gone']]);
    expect(await getWebhook(pool, webhook.id, 'acme')).toMatchObject({ state: 'gone' });
    const { runId } = await storeTurn(pool);
    await finishTurn(pool, runId, { terminalStatus: 'completed', failureKind: null, failureMessage: null });
    expect(await deliveries(webhook)).toHaveLength(1);
    // What had been stored before is not posted either.
    const { id } = await createTestDelivery(pool, webhook);
    await dispatcher.look();
    await expect
      .poll(async () => (await deliveries(webhook))[0], { timeout: 20_000 })
      .toMatchObject({
        id,
        state: 'dead',
        results: [expect.objectContaining({ failure: 'gone', status: null })],
      });
    expect(receiver.received).toHaveLength(1);
    await updateWebhook(pool, webhook.id, 'acme', { state: 'active' });
    await redeliver(pool, webhook.id, id);
    await dispatcher.look();
    await expect.poll(() => receiver.received.length, { timeout: 20_000 }).toBe(2);
  });
});

describe('a receiver that hangs', () => {
  it('holds up nobody else, however much waits for it', async () => {
    const slow = await startWebhookReceiver();
    try {
      slow.answers.push(...Array<'hang'>(300).fill('hang'));
      settings.allowedHosts = [receiver.host, slow.host];
      const hanging = await storeWebhook(pool, { url: slow.url, keyFingerprint: key.fingerprint });
      await fill(hanging.id, 300);
      const webhook = await subscribe();
      await fill(webhook.id, 30);
      dispatcher.start();
      const delivered = async () =>
        (await deliveries(webhook)).filter(({ state }) => state === 'delivered').length;
      await expect.poll(delivered, { timeout: 20_000 }).toBe(30);
      const begun = await pool.query(
        `select 1 from webhook_deliveries where webhook_id = $1 and state <> 'waiting'`,
        [hanging.id],
      );
      expect(begun.rows).toHaveLength(mostOfWebhook);
      expect(slow.received.length).toBeLessThanOrEqual(2 * mostOfWebhook);
    } finally {
      await slow.stop();
    }
  });
});

describe('a workflow that cannot be started', () => {
  it('holds up no other', async () => {
    // Longer than Temporal lets a search attribute be.
    const data = { tenantId: 'x'.repeat(5_000) };
    for (const tenantId of ['a', 'b', 'c']) await fill((await storeWebhook(pool, { tenantId })).id, 10, data);
    const webhook = await subscribe();
    await fill(webhook.id, 10);
    await expect(dispatcher.look()).rejects.toThrow('30 of 40');
    const waiting = (await deliveries(webhook)).filter(({ state }) => state === 'waiting');
    expect(waiting).toEqual([]);
  });
});

describe('a try', () => {
  it('ends with its activity: a message that was cut off leaves no record, and is not said to go on', async () => {
    const webhook = await subscribe();
    const { id: deliveryId, generation } = await createTestDelivery(pool, webhook);
    receiver.answers.push('hang');
    const environment = new MockActivityEnvironment();
    const activities = createWebhookActivities({
      pool,
      key,
      publicUrl: undefined,
      post: { allowedHosts: [receiver.host], timeoutMs: 60_000 },
    });
    const tried = environment.run(() => activities.deliverWebhook({ deliveryId, generation }));
    await expect.poll(() => receiver.received.length).toBe(1);
    environment.cancel('TIMED_OUT');
    await expect(tried).rejects.toThrow('TIMED_OUT');
    expect((await deliveries(webhook))[0]).toMatchObject({ state: 'waiting', results: [] });
  });
});

describe('a message', () => {
  it('has two signatures during a rotation, and one afterwards', async () => {
    const webhook = await subscribe();
    const next = async () => {
      const before = receiver.received.length;
      await createTestDelivery(pool, webhook);
      await dispatcher.look();
      await expect.poll(() => receiver.received.length, { timeout: 20_000 }).toBeGreaterThan(before);
      return receiver.received.at(-1);
    };
    await rotateSecret(
      pool,
      { webhookId: webhook.id, tenantId: 'acme' },
      { formerValidMs: 60_000, keyFingerprint: key.fingerprint },
      null,
    );
    const during = await next();
    for (const generation of [1, 2]) expect(verified(webhook, generation, during)).toBeDefined();
    await updateWebhook(pool, webhook.id, 'acme', { endFormerSecret: true });
    const after = await next();
    expect(verified(webhook, 2, after)).toBeDefined();
    expect(() => verified(webhook, 1, after)).toThrow();
  });

  it('is not signed with another key, or none, and is when the right one is back', async () => {
    const webhook = await subscribe();
    await createTestDelivery(pool, webhook);
    settings.key = new WebhookKey('another key of a test, long enough too');
    await dispatcher.look();
    await expect
      .poll(async () => (await deliveries(webhook))[0]?.results.length, { timeout: 20_000 })
      .toBeGreaterThan(0);
    settings.key = undefined;
    await expect
      .poll(async () => (await deliveries(webhook))[0]?.results.length, { timeout: 20_000 })
      .toBeGreaterThan(1);
    settings.key = key;
    const delivery = await ended(webhook);
    expect(delivery.state).toBe('delivered');
    expect(outcomes(delivery)[0]).toEqual([1, 1, null, 'key-unavailable']);
    expect(receiver.received).toHaveLength(1);
  });

  it('is not posted to an address that is not public, also when the operator has only now forbidden it', async () => {
    const webhook = await subscribe();
    settings.allowedHosts = [];
    await createTestDelivery(pool, webhook);
    await dispatcher.look();
    const failures = async () => (await deliveries(webhook))[0]?.results.map(({ failure }) => failure);
    await expect
      .poll(failures, { timeout: 20_000 })
      .toEqual(expect.arrayContaining(['url-refused', 'url-refused']));
    expect(receiver.received).toEqual([]);
  });
});
