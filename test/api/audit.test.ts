import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { isAudited } from '../../api/audit.js';
import { createdResource, resourceOfPath, tenantIn } from '../../api/audit-resource.js';
import { routeTable } from '../../api/routes/index.js';
import { type AuditRecord, auditRecordSchema } from '../../contract/audit.js';
import { pageOf } from '../../contract/queries.js';
import { auditQuery, beginAudit, endAudit } from '../../store/audit.js';
import { apiTokens, fakeGateway, startApi, type TestApi } from '../support/api.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import { newSessionId, owner, type ServingRunner, send, startTurn } from '../support/turns.js';

let postgres: TestPostgres;
let database: TestDatabase;
let api: TestApi;
const acmeAdmin = 'agr_acme_admin_0123456789';
const otherAdmin = 'agr_other_admin_0123456789';
const reader = apiTokens[1]?.token ?? '';
beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
  api = await startApi(database, {
    apiTokens: [
      ...apiTokens,
      { name: 'acme-admin', token: acmeAdmin, scopes: ['admin'], tenantId: 'acme' },
      { name: 'other-admin', token: otherAdmin, scopes: ['admin'], tenantId: 'other' },
    ],
  });
});
afterAll(async () => {
  await api.stop();
  await postgres.stop();
});

const page = pageOf(auditRecordSchema);
const list = (query = '', token?: string) =>
  api.data(page, 'GET', `/api/v1/audit${query}`, token === undefined ? {} : { token });

/** The entry of a request, once its outcome is filled in. */
function entryOf(traceId: string): Promise<AuditRecord> {
  return vi.waitFor(async () => {
    const { items } = await list('?limit=50');
    const found = items.filter((item) => item.traceId === traceId);
    expect(found).toHaveLength(1);
    expect(found[0]?.outcome).not.toBeNull();
    return auditRecordSchema.parse(found[0]);
  });
}

describe('an entry', () => {
  it('says who did what to which thing, and what came of it', async () => {
    const sessionId = newSessionId();
    const body = { sessionId, ...owner, backendProfile: 'codex', metadata: { note: 'canary-in-the-body' } };
    const created = await api.call('POST', '/api/v1/sessions', { body });
    const entry = await entryOf(created.body.traceId);
    expect(entry).toMatchObject({
      actor: 'admin',
      actorKind: 'token',
      tenantId: 'acme',
      operation: 'createSession',
      method: 'POST',
      route: '/api/v1/sessions',
      resourceKind: 'session',
      resourceId: sessionId,
      outcome: 'success',
      status: 200,
      failureKind: null,
    });
    const rows = await database.pool.query('select to_jsonb(a)::text as row from audit_log a');
    const text = JSON.stringify(rows.rows);
    expect(text).not.toContain('canary-in-the-body');
    for (const { token } of apiTokens) expect(text).not.toContain(token);
  });

  it('is written of what is refused: by scope, by schema, by the state of things', async () => {
    const sessionId = newSessionId();
    const path = `/api/v1/sessions/${sessionId}/send`;
    const scope = await api.call('POST', path, { token: reader, body: { prompt: 'x' } });
    expect(await entryOf(scope.body.traceId)).toMatchObject({
      actor: 'reader',
      resourceId: sessionId,
      outcome: 'refused',
      status: 403,
      failureKind: 'forbidden',
    });
    const wrong = await api.call('POST', path, { body: { promt: 'x' } });
    expect(await entryOf(wrong.body.traceId)).toMatchObject({ outcome: 'refused', status: 400 });
    const unread = await api.call('POST', path, { body: '{' });
    expect(await entryOf(unread.body.traceId)).toMatchObject({ outcome: 'refused', status: 400 });
    const unknown = await api.call('POST', path, { body: { prompt: 'x' } });
    expect(await entryOf(unknown.body.traceId)).toMatchObject({
      outcome: 'refused',
      failureKind: 'not-found',
    });
  });

  it('is written of what fails', async () => {
    const failing = await startApi(database, {
      gateway: { ...fakeGateway(database.pool), send: () => Promise.reject(new Error('broken')) },
    });
    const answer = await failing.call('POST', `/api/v1/sessions/${newSessionId()}/send`, {
      body: { prompt: 'x', run: owner },
    });
    await failing.stop();
    expect(answer.status).toBe(500);
    expect(await entryOf(answer.body.traceId)).toMatchObject({
      outcome: 'failed',
      failureKind: 'infra-failed',
    });
  });

  it('stays without an outcome when the process ends in between', async () => {
    const id = await beginAudit(database.pool, beginning({ traceId: 'of-a-killed-process' }));
    const { items } = await list('?operation=send&limit=500');
    expect(items.find((item) => item.id === id)).toMatchObject({ outcome: null, status: null });
  });

  it('is not written of reads, of unknown callers, nor of what a runner does', async () => {
    const before = await count();
    await api.call('GET', '/api/v1/audit');
    await api.call('POST', '/api/v1/sessions', { token: 'agr_unknown', body: {} });
    expect(await count()).toBe(before);
    const runner = await startTurn(api);
    const after = await vi.waitFor(async () => {
      const rows = await count();
      expect(rows).toBe(before + 1);
      return rows;
    });
    await api.call('PATCH', `/api/v1/runs/${runner.runId}/lease`, {
      token: runner.runToken,
      body: { runnerId: runner.runnerId },
    });
    await api.call('PATCH', `/api/v1/runs/${runner.runId}/status`, {
      token: runner.runToken,
      body: { terminalStatus: 'completed' },
    });
    expect(await count()).toBe(after);
  });

  it('is written of what an API token does on a route of runners, also what came of it', async () => {
    const runner = await startTurn(api);
    const path = `/api/v1/runs/${runner.runId}/status`;
    const answer = await api.call('PATCH', path, { body: { terminalStatus: 'completed' } });
    expect(await entryOf(answer.body.traceId)).toMatchObject({
      actor: 'admin',
      operation: 'finishAttempt',
      resourceId: runner.runId,
      tenantId: 'acme',
      outcome: 'refused',
    });
  });

  it.each([
    ['a session', ({ sessionId }: ServingRunner) => `/api/v1/sessions/${sessionId}/read`],
    ['a command', ({ promptId }: ServingRunner) => `/api/v1/commands/${promptId}/cancel`],
    ['a run', ({ runId }: ServingRunner) => `/api/v1/runs/${runId}/cancel`],
  ])('of %s is its tenant’s, whatever the body says and whoever came', async (_thing, pathOf) => {
    const runner = await startTurn(api);
    const answer = await api.call('POST', pathOf(runner), { body: { tenantId: 'other' } });
    expect(answer.status).toBe(400);
    expect(await entryOf(answer.body.traceId)).toMatchObject({ actor: 'admin', tenantId: 'acme' });
    const { items } = await list('?limit=50', acmeAdmin);
    expect(items.map(({ traceId }) => traceId)).toContain(answer.body.traceId);
  });

  it('of a refusal stands for all alike of a minute', async () => {
    const separate = await postgres.newDatabase();
    const one = await startApi(separate);
    for (let number = 0; number < 20; number += 1) {
      const answer = await one.call('POST', `/api/v1/sessions/s${number}/read`, { token: reader, body: {} });
      expect(answer.status).toBe(403);
    }
    await one.call('POST', '/api/v1/sessions/s/archive', { token: reader });
    const rows = async () =>
      (
        await separate.pool.query<{ operation: string }>(
          'select operation, requests, resource_id from audit_log order by requests, operation',
        )
      ).rows;
    const firsts = [
      { operation: 'archiveSession', requests: 1, resource_id: 's' },
      { operation: 'readSession', requests: 1, resource_id: 's0' },
    ];
    await vi.waitFor(async () => expect(await rows()).toEqual(firsts));
    await one.stop();
    await vi.waitFor(async () =>
      expect(await rows()).toEqual([
        ...firsts,
        { operation: 'readSession', requests: 19, resource_id: null },
      ]),
    );
  });
});

async function count(): Promise<number> {
  const found = await database.pool.query<{ rows: number }>('select count(*)::int as rows from audit_log');
  return found.rows[0]?.rows ?? 0;
}

const beginning = (more: Partial<Parameters<typeof beginAudit>[1]> = {}) => ({
  actor: 'admin',
  actorKind: 'token' as const,
  tenantId: null,
  operation: 'send',
  method: 'POST',
  route: '/api/v1/sessions/:sessionId/send',
  resourceKind: 'session',
  resourceId: 's1',
  traceId: 't1',
  ...more,
});
const ending = (outcome: 'success' | 'refused') => ({
  outcome,
  status: 200,
  failureKind: null,
  resourceKind: null,
  resourceId: null,
  tenantId: null,
});

describe('the log', () => {
  it('is append-only: an outcome is filled in once, nothing is changed, deleted or emptied', async () => {
    const id = await beginAudit(database.pool, beginning());
    const refused = /append-only/;
    const where = `where audit_id = '${id}'`;
    await expect(database.pool.query(`update audit_log set actor = 'x' ${where}`)).rejects.toThrow(refused);
    await expect(
      database.pool.query(`update audit_log set actor = 'x', outcome = 'success' ${where}`),
    ).rejects.toThrow(refused);
    await endAudit(database.pool, id, ending('success'));
    await expect(endAudit(database.pool, id, ending('refused'))).rejects.toThrow(refused);
    await expect(database.pool.query(`delete from audit_log ${where}`)).rejects.toThrow(refused);
    await expect(database.pool.query('truncate audit_log')).rejects.toThrow(refused);
  });

  it('is shortened by its owner only, and only of what is older than 30 days', async () => {
    const separate = await postgres.newDatabase();
    const young = await beginAudit(separate.pool, beginning());
    await separate.pool.query(
      `insert into audit_log (audit_id, at, actor, actor_kind, operation, method, route, trace_id)
         select 'aud_old' || days, now() - make_interval(days => days), 'a', 'token', 'send', 'POST', '/x', 't' from unnest(array[40, 90]) as days`,
    );
    const forget = (days: number) =>
      separate.pool.query(`select forget_audit_entries(now() - make_interval(days => $1)) as n`, [days]);
    await expect(forget(29)).rejects.toThrow(/30 days/);
    await expect(separate.pool.query('delete from audit_log')).rejects.toThrow(/append-only/);
    expect((await forget(60)).rows).toEqual([{ n: 1 }]);
    expect((await forget(31)).rows).toEqual([{ n: 1 }]);
    await expect(
      separate.pool.query(`set agentrun.forget_audit_entries = 'on'; delete from audit_log`),
    ).rejects.toThrow(/append-only/);
    expect((await separate.pool.query('select audit_id from audit_log')).rows).toEqual([{ audit_id: young }]);
  });

  it('that cannot be written stops what it is about, with 503', async () => {
    const separate = await postgres.newDatabase();
    const shut = await startApi(separate);
    await separate.pool.query(`create function refuse() returns trigger language plpgsql as
      $$ begin raise exception 'no'; end $$; create trigger refuse before insert on audit_log for each row execute function refuse()`);
    const sessionId = newSessionId();
    const answer = await shut.call('POST', '/api/v1/sessions', {
      body: { sessionId, ...owner, backendProfile: 'codex' },
    });
    expect([answer.status, answer.body.failureKind]).toEqual([503, 'unavailable']);
    expect((await shut.call('GET', `/api/v1/sessions/${sessionId}`)).status).toBe(404);
    await separate.pool.query('drop trigger refuse on audit_log');
    await separate.pool.query(
      'create trigger refuse before update on audit_log for each row execute function refuse()',
    );
    const done = await shut.call('POST', '/api/v1/sessions', {
      body: { sessionId, ...owner, backendProfile: 'codex' },
    });
    expect(done.status).toBe(200);
    await shut.stop();
  });

  it('is seen by the administrators of a tenant as far as it is theirs', async () => {
    const sent = await send(api, newSessionId(), 'hello');
    await vi.waitFor(async () =>
      expect((await list(`?resourceId=${sent.sessionId}`, acmeAdmin)).items).toHaveLength(1),
    );
    expect((await list(`?resourceId=${sent.sessionId}`, otherAdmin)).items).toEqual([]);
    expect((await list('?limit=500', otherAdmin)).items).toEqual([]);
    const own = (await list('?limit=500', acmeAdmin)).items;
    expect(own.every(({ tenantId }) => tenantId === 'acme')).toBe(true);
    expect((await list('?limit=500')).items.some(({ tenantId }) => tenantId === null)).toBe(true);
    expect((await api.call('GET', '/api/v1/audit', { token: reader })).status).toBe(403);
  });

  it('is listed by keyset with filters', async () => {
    const actor = `walker-${process.pid}`;
    const ids: string[] = [];
    for (let number = 0; number < 5; number += 1) {
      const id = await beginAudit(database.pool, beginning({ actor, resourceId: `r${number}` }));
      if (number % 2 === 0) await endAudit(database.pool, id, ending('refused'));
      ids.unshift(id);
    }
    const first = await list(`?actor=${actor}&limit=2`);
    const second = await list(`?actor=${actor}&limit=2&cursor=${first.nextCursor}`);
    const third = await list(`?actor=${actor}&limit=2&cursor=${second.nextCursor}`);
    expect([first, second, third].flatMap(({ items }) => items.map(({ id }) => id))).toEqual(ids);
    expect([first.hasMore, second.hasMore, third.hasMore, third.nextCursor]).toEqual([
      true,
      true,
      false,
      null,
    ]);
    const count = async (query: string) => (await list(`?actor=${actor}&${query}`)).items.length;
    expect(await count('outcome=refused')).toBe(3);
    expect(await count('operation=send&resourceId=r3')).toBe(1);
    const [past, future] = [Date.now() - 60_000, Date.now() + 60_000].map((ms) => new Date(ms).toISOString());
    expect(await count(`since=${past}&until=${future}`)).toBe(5);
    expect(await count(`since=${future}`)).toBe(0);
    expect(await count(`until=${past}`)).toBe(0);
    expect((await api.call('GET', '/api/v1/audit?cursor=nonsense')).status).toBe(400);
  });

  it.each([
    ['all', {}],
    ['a tenant', { tenantId: 'tenant-3' }],
    ['a thing', { resourceId: 'thing-7' }],
    ['an actor', { actor: 'actor-11' }],
    ['a time', { since: '2026-01-01T00:00:00Z', until: '2026-01-02T00:00:00Z' }],
  ])('finds %s by an index, without a sort', async (_name, filter) => {
    const large = await largeLog();
    const { text, values } = auditQuery({ limit: 50, ...filter });
    const explained = await large.pool.query(`explain (format json) ${text}`, values);
    const plan = JSON.stringify(explained.rows);
    expect(plan).toMatch(/Index (?:Only )?Scan/);
    expect(plan).not.toMatch(/Seq Scan|"Sort"/);
  });
});

let large: Promise<TestDatabase> | undefined;
function largeLog(): Promise<TestDatabase> {
  large ??= (async () => {
    const made = await postgres.newDatabase();
    await made.pool.query(`insert into audit_log (audit_id, actor, actor_kind, tenant_id, operation, method, route, resource_id, trace_id)
      select 'aud_' || lpad(n::text, 26, '0'), 'actor-' || n % 20, 'token', 'tenant-' || n % 20, 'send', 'POST', '/x', 'thing-' || n % 20, 't'
        from generate_series(1, 20000) n`);
    await made.pool.query('analyze audit_log');
    return made;
  })();
  return large;
}

describe('the thing of a request', () => {
  it.each([
    ['/api/v1/runs/:runId/commands', { runId: 'run_1' }, 'run', 'run_1'],
    [
      '/api/v1/runs/:runId/requests/:requestId/expire',
      { runId: 'run_1', requestId: 'req_1' },
      'request',
      'req_1',
    ],
    ['/api/v1/queue/tasks/:taskId/cancel', { taskId: 'task_1' }, 'queue-task', 'task_1'],
    ['/api/v1/things/:thingId', { thingId: 'x' }, 'thing', 'x'],
    ['/api/v1/sessions/:sessionId', { sessionId: 'a\0b' }, 'session', 'a\uFFFDb'],
    ['/api/v1/sessions/:sessionId', { sessionId: 'x'.repeat(900) }, 'session', 'x'.repeat(200)],
    ['/api/v1/sessions', {}, null, null],
  ])('is the last id of %s', (path, params, resourceKind, resourceId) => {
    expect(resourceOfPath(path, params)).toEqual({ resourceKind, resourceId });
  });

  it.each([
    ['/api/v1/sessions', { session: { sessionId: 's1' } }, 'session', 's1'],
    ['/api/v1/runs', { id: 'run_1', sessionId: 's1' }, 'run', 'run_1'],
    ['/api/v1/queue/tasks', { id: 'task_1' }, 'queue-task', 'task_1'],
    ['/api/v1/runners/register', { runnerId: 'rnr_1', jobId: null }, 'runner', 'rnr_1'],
    ['/api/v1/sessions/storage/gc', { items: [] }, null, null],
    ['/api/v1/runs/:runId/cancel', { id: 'run_1' }, null, null],
    ['/api/v1/runs', null, null, null],
  ])('is what %s has created', (path, answer, resourceKind, resourceId) => {
    expect(createdResource(path, answer)).toEqual({ resourceKind, resourceId });
  });

  it.each([
    [{ tenantId: 'a' }, 'a'],
    [{ run: { tenantId: 'b' } }, 'b'],
    [{ session: { tenantId: 'c' } }, 'c'],
    [{ tenantId: 7, run: 'x' }, null],
    [[], null],
    [undefined, null],
  ])('belongs to the tenant that %j names', (value, tenant) => {
    expect(tenantIn(value)).toBe(tenant);
  });

  it('every write is audited but those of which there are many in a turn, and those that only runners make', () => {
    const missing = routeTable(api.deps)
      .filter((route) => route.contract.method !== 'get' && !isAudited(route))
      .map(({ operationId }) => operationId);
    expect(missing.toSorted()).toEqual([
      'appendEvent',
      'ingestEvents',
      'renewLease',
      'renewRunner',
      'sendDeltas',
    ]);
  });
});
