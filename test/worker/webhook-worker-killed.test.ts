import { afterAll, beforeAll, expect, it } from 'vitest';
import { WebhookKey } from '../../infra/webhooks/webhook-key.js';
import { finishTurn } from '../../store/turn-steps.js';
import { listDeliveries } from '../../store/webhook-deliveries.js';
import { storeTurn } from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.js';
import { storeWebhook } from '../support/webhook-rows.js';
import { startWorkerProcess, type WorkerProcess } from '../support/worker-process.js';
import { Harness } from '../workflows/harness.js';

const webhookKey = 'a key of a test, which is long enough';
const postgres = await usePostgres();
let harness: Harness;
let receiver: WebhookReceiver;
const workers: WorkerProcess[] = [];
beforeAll(async () => {
  harness = await Harness.start();
  receiver = await startWebhookReceiver();
});
afterAll(async () => {
  for (const worker of workers) await worker.kill();
  await receiver?.stop();
  await harness?.stop();
});

it('a worker that is killed between the POST and its record leaves a message that another sends again, under the same id', async () => {
  const database = await postgres.newDatabase();
  const start = async () => {
    const worker = await startWorkerProcess({
      database,
      temporalAddress: harness.env.address,
      webhookKey,
      env: { AGENTRUN_WEBHOOK_ALLOWED_HOSTS: receiver.host },
    });
    workers.push(worker);
    return worker;
  };
  const keyFingerprint = new WebhookKey(webhookKey).fingerprint;
  const { id } = await storeWebhook(database.pool, { url: receiver.url, keyFingerprint });
  const { runId } = await storeTurn(database.pool);
  receiver.answers.push('hang');
  const killed = await start();
  await finishTurn(database.pool, runId, {
    terminalStatus: 'completed',
    failureKind: null,
    failureMessage: null,
  });
  await expect.poll(() => receiver.received.length, { timeout: 20_000 }).toBe(1);
  await killed.kill();
  const delivery = async () => (await listDeliveries(database.pool, id, { limit: 1 })).items[0];
  expect(await delivery()).toMatchObject({ state: 'sending', results: [] });

  await start();
  await expect.poll(async () => (await delivery())?.state, { timeout: 60_000 }).toBe('delivered');
  expect((await delivery())?.results).toMatchObject([{ try: 2, status: 200 }]);
  const [first, second] = receiver.received;
  expect(receiver.received).toHaveLength(2);
  expect(second?.headers['webhook-id']).toBe(first?.headers['webhook-id']);
  expect(second?.body).toBe(first?.body);
}, 120_000);
