import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { idPrefixes } from '../../contract/ids.js';
import { pageOf } from '../../contract/queries.js';
import {
  type WebhookRecord,
  webhookDeliverySchema,
  webhookSchema,
  webhookWithSecretSchema,
} from '../../contract/webhooks.js';
import { WebhookKey } from '../../infra/webhooks/webhook-key.js';
import { newId } from '../../store/new-id.js';
import { cancelPendingRun } from '../../store/turn-steps.js';
import { recordTry } from '../../store/webhook-deliveries.js';
import { apiTokens, startApi } from '../support/api.js';
import { messageLines, owner, postEvents, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const masterKey = 'KEY-OF-THE-INSTALLATION-0123456789abcdef';
const otherToken = 'agr_other_0123456789abcdef';
const tokens = [
  ...apiTokens,
  { name: 'other', token: otherToken, scopes: ['operate'], tenantId: 'other' } as const,
];
const webhooks = { key: new WebhookKey(masterKey), allowedHosts: ['127.0.0.1:9999'] };
const { api, database } = await useApi({ apiTokens: tokens, webhooks });

const acme = { token: 'agr_acme_0123456789abcdef' };
const url = 'https://hooks.example.com/agentrun?who=us';
const add = (
  body: Record<string, unknown> = {},
  more: { token?: string; headers?: Record<string, string> } = {},
) => api.data(webhookWithSecretSchema, 'POST', '/api/v1/webhooks', { body: { url, ...body }, ...more });
const path = ({ id }: Pick<WebhookRecord, 'id'>, rest = '') => `/api/v1/webhooks/${id}${rest}`;

describe('a webhook', () => {
  it('is made with its secret, which no other answer shows, and with everything when nothing is chosen', async () => {
    const { secret, ...made } = await add({ projectId: 'web', labels: { team: 'core' } }, acme);
    expect(made).toMatchObject({
      tenantId: 'acme',
      state: 'active',
      secretGeneration: 1,
      formerSecretUntil: null,
    });
    expect(made.events).toHaveLength(10);
    expect(secret).toBe(webhooks.key.secret(made.id, 1));
    const shown = await api.call('GET', path(made), acme);
    expect(shown.body.data).toEqual(made);
    for (const one of [shown, await api.call('GET', '/api/v1/webhooks', acme)])
      expect(one.text).not.toMatch(/whsec_|secret"/);
  });

  it('is of the tenant of its token; a token of all tenants says whose it is, or subscribes to all', async () => {
    const mine = await add({}, acme);
    const refused = await api.call('POST', '/api/v1/webhooks', { body: { url, tenantId: 'other' }, ...acme });
    expect(refused.status).toBe(403);
    const [given, all] = [await add({ tenantId: 'acme' }), await add()];
    expect([mine.tenantId, given.tenantId, all.tenantId]).toEqual(['acme', 'acme', null]);
    const page = pageOf(webhookSchema);
    const seen = async (token?: { token: string }) =>
      (await api.data(page, 'GET', '/api/v1/webhooks?limit=500', token)).items.map(({ id }) => id);
    expect(await seen(acme)).toEqual(expect.arrayContaining([mine.id, given.id]));
    expect(await seen(acme)).not.toContain(all.id);
    expect(await seen()).toEqual(expect.arrayContaining([mine.id, given.id, all.id]));
    expect(await seen({ token: otherToken })).toEqual([]);
  });

  it('of another tenant is not there, whatever is asked of it', async () => {
    const mine = await add({}, acme);
    const delivery = await api.data(webhookDeliverySchema, 'POST', path(mine, '/test'), acme);
    for (const [method, rest, body] of [
      ['GET', '', undefined],
      ['PATCH', '', { state: 'paused' }],
      ['DELETE', '', undefined],
      ['POST', '/rotate-secret', {}],
      ['POST', '/test', undefined],
      ['GET', '/deliveries', undefined],
      ['POST', `/deliveries/${delivery.id}/redeliver`, undefined],
    ] as const) {
      const answer = await api.call(method, path(mine, rest), { token: otherToken, ...(body && { body }) });
      expect([method, rest, answer.status, answer.body.failureKind]).toEqual([
        method,
        rest,
        404,
        'not-found',
      ]);
    }
    expect((await api.call('GET', path(mine), acme)).body.data).toMatchObject({ state: 'active' });
  });

  it.each([
    ['http://hooks.example.com/', 'https://'],
    ['https://user:pass@hooks.example.com/', 'user'],
    ['https://127.0.0.1/', 'public'],
    ['https://2130706433/', 'public'],
    ['https://[::ffff:10.0.0.1]/', 'public'],
    ['https://169.254.169.254/latest', 'public'],
    ['https://localhost:8443/', 'public'],
    ['http://127.0.0.1:9998/', 'https://'],
    ['ftp://hooks.example.com/', 'https://'],
    ['https://hooks.example.com/#x', 'https://'],
  ])('at %s is refused with what was expected', async (wrong, expected) => {
    for (const answer of [
      await api.call('POST', '/api/v1/webhooks', { body: { url: wrong } }),
      await api.call('PATCH', path(await add()), { body: { url: wrong } }),
    ]) {
      expect(answer.status).toBe(400);
      expect(answer.body).toMatchObject({ failureKind: 'schema-invalid' });
      expect(answer.body.message).toMatch(/^url: expected/);
      expect(answer.body.message).toContain(expected);
      expect(answer.text).not.toContain('pass@');
    }
  });

  it('may lead to a private host that the operator allows', async () => {
    expect((await add({ url: 'http://127.0.0.1:9999/x' })).state).toBe('active');
  });

  it('knows its events: another is refused', async () => {
    const answer = await api.call('POST', '/api/v1/webhooks', { body: { url, events: ['run.started'] } });
    expect(answer.status).toBe(400);
    expect((await add({ events: ['task.failed', 'run.failed', 'run.failed'] })).events).toEqual([
      'run.failed',
      'task.failed',
    ]);
  });

  it('is changed, paused and deleted, and is then not there', async () => {
    const made = await add();
    const body = { description: 'ours', events: ['run.failed'], state: 'paused', labels: { a: 'b' } };
    expect(await api.data(webhookSchema, 'PATCH', path(made), { body })).toMatchObject(body);
    expect((await api.call('POST', path(made, '/test'))).status).toBe(409);
    expect((await api.call('DELETE', path(made))).body.data).toEqual({
      action: 'webhook-deleted',
      webhookId: made.id,
    });
    expect((await api.call('GET', path(made))).status).toBe(404);
    expect((await api.call('DELETE', path(made))).status).toBe(404);
  });

  it('hears of what happens in its tenant alone', async () => {
    const [mine, theirs, all] = [await add({}, acme), await add({}, { token: otherToken }), await add()];
    const { data } = (await api.call('POST', '/api/v1/runs', { body: owner })).body;
    const runId = String(Object(data).id);
    await cancelPendingRun(database.pool, runId, null);
    const told = async (webhook: WebhookRecord) =>
      (await api.data(pageOf(webhookDeliverySchema), 'GET', path(webhook, '/deliveries'))).items.map(
        (item) => [item.type, item.state, item.data.runId],
      );
    expect(await told(mine)).toEqual([['run.cancelled', 'waiting', runId]]);
    expect(await told(all)).toEqual([['run.cancelled', 'waiting', runId]]);
    expect(await told(theirs)).toEqual([]);
  });

  it('is in the audit log by what was done to it, never with its secret', async () => {
    const { secret, ...made } = await add({}, acme);
    const delivery = await api.data(webhookDeliverySchema, 'POST', path(made, '/test'), acme);
    await api.call('POST', path(made, '/rotate-secret'), { body: {}, ...acme });
    await api.call('PATCH', path(made), { body: { description: 'x' }, ...acme });
    await api.call('POST', path(made, `/deliveries/${delivery.id}/redeliver`));
    await api.call('DELETE', path(made), acme);
    await expect
      .poll(
        async () =>
          (
            await database.pool.query<{ said: string }>(
              `select operation || ' ' || resource_kind || ' ' || tenant_id as said from audit_log
                where outcome = 'success' and resource_id in ($1, $2) order by audit_id`,
              [made.id, delivery.id],
            )
          ).rows.map((row) => row.said),
        { timeout: 5_000 },
      )
      .toEqual([
        'createWebhook webhook acme',
        'testWebhook webhook acme',
        'rotateWebhookSecret webhook acme',
        'updateWebhook webhook acme',
        'redeliverWebhook webhook-delivery acme',
        'deleteWebhook webhook acme',
      ]);
    expect(secret).toContain('whsec_');
  });
});

describe('a secret', () => {
  it('is the same when its creation is repeated under its key, and stays when another is made', async () => {
    const headers = { 'idempotency-key': 'once' };
    const first = await add({}, { ...acme, headers });
    const again = await api.call('POST', '/api/v1/webhooks', { body: { url }, ...acme, headers });
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect(again.body.data).toEqual(first);
    expect(
      (await api.call('POST', '/api/v1/webhooks', { body: { url, description: 'x' }, ...acme, headers }))
        .status,
    ).toBe(409);
    expect((await add({}, acme)).secret).not.toBe(first.secret);
  });

  it('is rotated once under one key, so that a repeat does not end the secret that the receiver has', async () => {
    const made = await add();
    const headers = { 'idempotency-key': 'rotate' };
    const rotate = (body: unknown, more = {}) =>
      api.data(webhookWithSecretSchema, 'POST', path(made, '/rotate-secret'), { body, ...more });
    const second = await rotate({}, { headers });
    expect(second).toMatchObject({ secretGeneration: 2, formerSecretUntil: expect.any(String) });
    expect(Date.parse(second.formerSecretUntil ?? '') - Date.now()).toBeGreaterThan(23 * 3_600_000);
    expect(await rotate({}, { headers })).toEqual(second);
    const third = await rotate({ formerValidMs: 0 });
    expect(third).toMatchObject({ secretGeneration: 3, formerSecretUntil: null });
    expect(new Set([made.secret, second.secret, third.secret]).size).toBe(3);
    await rotate({});
    const ended = await api.data(webhookSchema, 'PATCH', path(made), { body: { endFormerSecret: true } });
    expect(ended.formerSecretUntil).toBeNull();
  });

  it('that is not the one that signs any more is not handed out to a repeat', async () => {
    const sent = { body: { url }, headers: { 'idempotency-key': 'stale' } };
    const made = await api.data(webhookWithSecretSchema, 'POST', '/api/v1/webhooks', sent);
    const turned = { body: {}, headers: { 'idempotency-key': 'stale' } };
    const refusedWith = async (one: typeof api, at: string, request: object, reason: string) => {
      const answer = await one.call('POST', at, request);
      expect([answer.status, answer.body.failureKind]).toEqual([409, 'conflict']);
      expect(answer.body.message).toContain(reason);
      expect(answer.text).not.toContain('whsec_');
    };
    const another = await startApi(database, {
      apiTokens: tokens,
      webhooks: { key: new WebhookKey('ANOTHER-KEY-0123456789-0123456789-abcdef') },
    });
    try {
      await refusedWith(another, '/api/v1/webhooks', sent, 'another key');
      await api.data(webhookWithSecretSchema, 'POST', path(made, '/rotate-secret'), turned);
      await refusedWith(api, '/api/v1/webhooks', sent, 'another secret');
      await refusedWith(another, path(made, '/rotate-secret'), turned, 'another key');
      await another.data(webhookWithSecretSchema, 'POST', path(made, '/rotate-secret'), { body: {} });
      await refusedWith(api, path(made, '/rotate-secret'), turned, 'another key');
      await refusedWith(another, path(made, '/rotate-secret'), turned, 'another secret');
    } finally {
      await another.stop();
    }
    await api.call('DELETE', path(made));
    await refusedWith(api, '/api/v1/webhooks', sent, 'deleted');
  });

  it('is verified by what receivers use', async () => {
    const { id, secret } = await add();
    const message = { id: 'dlv_1', timestampSeconds: Math.floor(Date.now() / 1_000), body: '{}' };
    const headers = {
      'webhook-id': message.id,
      'webhook-timestamp': String(message.timestampSeconds),
      'webhook-signature': webhooks.key.signature(id, [1], message),
    };
    expect(new Webhook(secret).verify('{}', headers)).toEqual({});
  });

  it('is in no table, nor is the key', async () => {
    const made = await add({ description: 'canary' }, { headers: { 'idempotency-key': 'canary' } });
    const rotated = await api.data(webhookWithSecretSchema, 'POST', path(made, '/rotate-secret'), {
      body: {},
      headers: { 'idempotency-key': 'canary' },
    });
    const tables = await database.pool.query<{ name: string }>(
      `select c.oid::regclass::text as name from pg_class c where c.relkind in ('r', 'p') and c.relnamespace = 'public'::regnamespace`,
    );
    const forms = [made.secret, rotated.secret].flatMap((secret) => {
      const bytes = Buffer.from(secret.replace('whsec_', ''), 'base64');
      return ['whsec_', secret.slice(6), bytes.toString('hex'), bytes.toString('base64url')];
    });
    let rows = 0;
    for (const { name } of tables.rows) {
      const found = await database.pool.query<{ row: string }>(`select t::text as row from ${name} t`);
      rows += found.rows.length;
      for (const { row } of found.rows)
        for (const form of [...forms, masterKey]) expect(row, name).not.toContain(form);
    }
    // The look has seen something, the answers that are kept for repeats among it.
    expect(rows).toBeGreaterThan(20);
    const kept = await database.pool.query(
      `select 1 from idempotency_keys where answer::text like '%' || $1 || '%'`,
      [made.id],
    );
    expect(kept.rows).toHaveLength(2);
  });
});

describe('a delivery', () => {
  it('that has ended is sent again; one that is under way is answered as it is', async () => {
    const made = await add({}, acme);
    const test = await api.data(webhookDeliverySchema, 'POST', path(made, '/test'), acme);
    expect(test).toMatchObject({
      type: 'webhook.test',
      state: 'waiting',
      generation: 1,
      tries: 0,
      results: [],
    });
    const again = () =>
      api.data(webhookDeliverySchema, 'POST', path(made, `/deliveries/${test.id}/redeliver`), acme);
    expect(await again()).toEqual(test);
    const tried = { try: 10, durationMs: 7, status: 503, failure: 'http-status' } as const;
    await recordTry(database.pool, { deliveryId: test.id, generation: 1 }, tried, 'dead');
    const dead = await api.data(
      pageOf(webhookDeliverySchema),
      'GET',
      path(made, '/deliveries?state=dead'),
      acme,
    );
    expect(dead.items).toMatchObject([{ id: test.id, results: [{ generation: 1, ...tried }] }]);
    expect(await again()).toMatchObject({ id: test.id, state: 'waiting', generation: 2, tries: 0 });
  });
});

describe('a test', () => {
  it('is one of ten that have not ended', async () => {
    const made = await add({}, acme);
    const first = await api.data(webhookDeliverySchema, 'POST', path(made, '/test'), acme);
    for (let count = 1; count < 10; count += 1)
      await api.data(webhookDeliverySchema, 'POST', path(made, '/test'), acme);
    const refused = await api.call('POST', path(made, '/test'), acme);
    expect([refused.status, refused.body.failureKind]).toEqual([409, 'conflict']);
    const tried = { try: 1, durationMs: 7, status: 200, failure: null };
    await recordTry(database.pool, { deliveryId: first.id, generation: 1 }, tried, 'delivered');
    expect((await api.call('POST', path(made, '/test'), acme)).status).toBe(200);
  });
});

describe('a request of an agent', () => {
  it('wakes who delivers, in a batch and by itself; other events do not', async () => {
    const runner = await startTurn(api);
    const asks = () => ({
      type: 'approval_requested',
      payload: {
        requestId: newId(idPrefixes.agentRequest),
        kind: 'command',
        itemId: 'item-1',
        summary: 'run it',
        command: 'rm -rf build',
        cwd: '/workspace',
        reason: null,
        questions: [],
        fingerprint: 'f1',
      },
    });
    // Said after the wake-up of webhooks, by the same process: when it is heard, so was the other.
    const barrier = async (key: string) => {
      const waiter = api.deps.listener.arm('agentrun_runner', key);
      api.deps.notifier.notify('agentrun_runner', key);
      expect(await waiter.wait(5_000)).toBe('notified');
      waiter.close();
    };
    await barrier('former tests');
    const wakes: string[] = [];
    const end = api.deps.listener.subscribe('agentrun_webhook', 'due', () => wakes.push('webhook'));
    expect((await postEvents(api, runner, messageLines(1, 1))).status).toBe(200);
    await barrier('plain');
    expect(wakes).toEqual([]);
    await postEvents(api, runner, [{ seq: 2, event: asks() }]);
    await barrier('batch');
    expect(wakes).toHaveLength(1);
    await api.call('POST', `/api/v1/runs/${runner.runId}/events`, {
      token: runner.runToken,
      body: asks(),
    });
    await barrier('single');
    expect(wakes).toHaveLength(2);
    end();
  });
});

describe('an installation without a key', () => {
  it('says so when a secret is asked for, and does everything else', async () => {
    const made = await add();
    const bare = await startApi(database, { apiTokens: tokens, webhooks: { key: undefined } });
    try {
      for (const [at, body] of [
        ['/api/v1/webhooks', { url }],
        [path(made, '/rotate-secret'), {}],
      ] as const) {
        const refused = await bare.call('POST', at, { body });
        expect(refused.status).toBe(409);
        expect(refused.body).toMatchObject({ failureKind: 'conflict' });
        expect(refused.body.message).toContain('AGENTRUN_WEBHOOK_KEY_FILE');
      }
      expect((await bare.call('GET', path(made))).status).toBe(200);
      expect((await bare.call('DELETE', path(made))).status).toBe(200);
      expect((await bare.call('POST', '/api/v1/runs', { body: owner })).status).toBe(200);
    } finally {
      await bare.stop();
    }
  });
});
