import { describe, expect, it } from 'vitest';
import { newSessionId, owner } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

let keys = 0;
const newKey = () => {
  keys += 1;
  return `key-${process.pid}-${keys}`;
};

interface KeyedRoute {
  readonly name: string;
  /** Makes what the route needs; answers its path. */
  readonly path: () => Promise<string>;
  readonly body: object;
  readonly otherBody: object;
  /** The id of what the request made. */
  readonly idOf: (data: unknown) => unknown;
  /** How many of it there are now. */
  readonly count: string;
  /** Body fields that mean the same as the header. */
  readonly bodyKeys: readonly string[];
}

const field =
  (...names: string[]) =>
  (data: unknown): unknown =>
    names.reduce<unknown>(
      (value, name) =>
        typeof value === 'object' && value !== null
          ? Object.entries(value).find(([key]) => key === name)?.[1]
          : undefined,
      data,
    );
const runFor = async (): Promise<string> => {
  const { body } = await api.call('POST', '/api/v1/runs', {
    body: { ...owner, sessionRef: { sessionId: newSessionId() } },
  });
  return `/api/v1/runs/${String(field('id')(body.data))}/commands`;
};
const routes: readonly KeyedRoute[] = [
  {
    name: 'createSession',
    path: async () => '/api/v1/sessions',
    body: owner,
    otherBody: { ...owner, labels: { a: 'b' } },
    idOf: field('session', 'sessionId'),
    count: 'sessions',
    bodyKeys: [],
  },
  {
    name: 'createRun',
    path: async () => '/api/v1/runs',
    body: owner,
    otherBody: { ...owner, providerId: 'other' },
    idOf: field('id'),
    count: 'runs',
    bodyKeys: [],
  },
  {
    name: 'createQueueTask',
    path: async () => '/api/v1/queue/tasks',
    body: { ...owner, prompt: 'do it' },
    otherBody: { ...owner, prompt: 'do that' },
    idOf: field('id'),
    count: 'queue_tasks',
    bodyKeys: ['idempotencyKey'],
  },
  {
    name: 'send',
    path: async () => `/api/v1/sessions/${newSessionId()}/send`,
    body: { prompt: 'do it', run: owner },
    otherBody: { prompt: 'do that', run: owner },
    idOf: field('command', 'id'),
    count: 'commands',
    bodyKeys: ['commandIdempotencyKey', 'idempotencyKey'],
  },
  {
    name: 'createCommand',
    path: runFor,
    body: { type: 'turn', payload: { prompt: 'do it' } },
    otherBody: { type: 'turn', payload: { prompt: 'do that' } },
    idOf: field('id'),
    count: 'commands',
    bodyKeys: ['idempotencyKey'],
  },
];

const post = (path: string, body: object, key?: string) =>
  api.call('POST', path, { body, ...(key === undefined ? {} : { headers: { 'idempotency-key': key } }) });
const replayed = (answer: { headers: Headers }) => answer.headers.get('idempotency-replayed');
const rowsOf = async (table: string): Promise<number> => {
  const found = await database.pool.query<{ count: number }>(`select count(*)::int as count from ${table}`);
  return found.rows[0]?.count ?? 0;
};
const expire = async (key: string): Promise<void> => {
  for (const table of ['idempotency_keys', 'session_messages']) {
    await database.pool.query(
      `update ${table} set created_at = now() - interval '8 days' where idempotency_key = $1`,
      [key],
    );
  }
};

describe.each(routes)('$name', ({ path: pathOf, body, otherBody, idOf, count, bodyKeys }) => {
  it('replays the first answer for the same key and body, and refuses another body', async () => {
    const path = await pathOf();
    const key = newKey();
    const first = await post(path, body, key);
    expect(first.status).toBe(200);
    expect(replayed(first)).toBeNull();
    const before = await rowsOf(count);
    const second = await post(path, body, key);
    expect([second.status, idOf(second.body.data), replayed(second)]).toEqual([
      200,
      idOf(first.body.data),
      'true',
    ]);
    const other = await post(path, otherBody, key);
    expect([other.status, other.body.failureKind, replayed(other)]).toEqual([409, 'conflict', null]);
    expect(await rowsOf(count)).toBe(before);
  });

  it('has one effect of twenty requests at once', async () => {
    const path = await pathOf();
    const key = newKey();
    const before = await rowsOf(count);
    const answers = await Promise.all(Array.from({ length: 20 }, () => post(path, body, key)));
    // At most 8 sends of a session are decided at a time (architecture.md 4.1); the others are told to come again.
    const done = answers.filter(({ status }) => status === 200);
    expect(answers.every(({ status }) => status === 200 || status === 429)).toBe(true);
    expect(new Set(done.map((answer) => idOf(answer.body.data))).size).toBe(1);
    expect(done.filter((answer) => replayed(answer) === null)).toHaveLength(1);
    expect(await rowsOf(count)).toBe(before + 1);
  });

  it('has an effect each without a key', async () => {
    const path = await pathOf();
    const before = await rowsOf(count);
    const answers = [await post(path, body), await post(path, body)];
    expect(answers.map(replayed)).toEqual([null, null]);
    expect(await rowsOf(count)).toBe(before + 2);
  });

  it.each(bodyKeys)('takes the header and %s for the same', async (name) => {
    const path = await pathOf();
    const key = newKey();
    const first = await post(path, { ...body, [name]: key });
    const second = await post(path, body, key);
    const third = await post(path, { ...body, [name]: key }, key);
    expect([second, third].map((answer) => idOf(answer.body.data))).toEqual([
      idOf(first.body.data),
      idOf(first.body.data),
    ]);
    const differing = await post(path, { ...body, [name]: key }, newKey());
    expect(differing.status).toBe(400);
    expect(differing.body.message).toMatch(new RegExp(`Idempotency-Key and ${name}`));
  });

  it('forgets a key after seven days', async () => {
    const path = await pathOf();
    const key = newKey();
    const first = await post(path, body, key);
    await expire(key);
    const second = await post(path, otherBody, key);
    expect([second.status, replayed(second)]).toEqual([200, null]);
    expect(idOf(second.body.data)).not.toBe(idOf(first.body.data));
    expect(idOf((await post(path, otherBody, key)).body.data)).toBe(idOf(second.body.data));
  });

  it('refuses a key that is blank, too long or given twice', async () => {
    const path = await pathOf();
    expect((await post(path, body, ' ')).status).toBe(400);
    expect((await post(path, body, 'x'.repeat(201))).status).toBe(400);
  });
});

it('keeps the keys of tenants apart', async () => {
  const key = newKey();
  const made = await Promise.all(
    ['acme', 'bolt'].map((tenantId) => post('/api/v1/runs', { tenantId, projectId: 'web' }, key)),
  );
  expect(made.map(({ status }) => status)).toEqual([200, 200]);
  const foreign = await api.call('POST', '/api/v1/runs', {
    body: { tenantId: 'bolt', projectId: 'web' },
    token: 'agr_acme_0123456789abcdef',
    headers: { 'idempotency-key': key },
  });
  expect(foreign.status).toBe(403);
});

it('takes expired keys along, a few at a time', async () => {
  const stale = Array.from({ length: 12 }, newKey);
  for (const key of stale) await post('/api/v1/runs', owner, key);
  await Promise.all(stale.map(expire));
  const left = async () => {
    const found = await database.pool.query<{ count: number }>(
      'select count(*)::int as count from idempotency_keys where idempotency_key = any($1)',
      [stale],
    );
    return found.rows[0]?.count;
  };
  await post('/api/v1/runs', owner, newKey());
  expect(await left()).toBe(2);
  await post('/api/v1/runs', owner, newKey());
  expect(await left()).toBe(0);
});

it('stores a key with its effect or not at all', async () => {
  const key = newKey();
  const session = newSessionId();
  await post('/api/v1/sessions', { ...owner, sessionId: session });
  const refused = await post(
    '/api/v1/runs',
    { ...owner, projectId: 'other', sessionRef: { sessionId: session } },
    key,
  );
  expect(refused.status).toBe(409);
  const again = await post('/api/v1/runs', { ...owner, sessionRef: { sessionId: session } }, key);
  expect([again.status, replayed(again)]).toEqual([200, null]);
});
