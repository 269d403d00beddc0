import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { pageOf } from '../../contract/queries.js';
import { runnerRecordSchema } from '../../contract/runners.js';
import { runRecordSchema } from '../../contract/runs.js';
import { sessionSummarySchema } from '../../contract/sessions.js';
import { startApi, type TestApi } from '../support/api.js';
import { storeRun, storeRunner, storeSession } from '../support/list-rows.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';

let postgres: TestPostgres;
let database: TestDatabase;
let api: TestApi;
beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
  api = await startApi(database);
  for (const [index, tenantId] of ['acme', 'acme', 'umbrella'].entries()) {
    const sessionId = await storeSession(database.pool, {
      sessionId: `s${index}`,
      tenantId,
      backendProfile: index === 1 ? 'command' : 'codex',
      labels: { nr: String(index) },
    });
    await storeRun(database.pool, sessionId, { status: 'failed' });
    await storeRunner(database.pool, sessionId, { jobName: `job-${index}`, state: 'gone' });
  }
});
afterAll(async () => {
  await api.stop();
  await postgres.stop();
});

const acme = 'agr_acme_0123456789abcdef';
const sessionPage = pageOf(sessionSummarySchema);
const sessionIds = async (query: string, token?: string) =>
  (
    await api.data(sessionPage, 'GET', `/api/v1/sessions?${query}`, token === undefined ? {} : { token })
  ).items.map((session) => session.sessionId);

describe('lists', () => {
  it.each([
    ['sessions', sessionPage.extend({ items: z.array(z.looseObject({ tenantId: z.string() })) })],
    ['runs', pageOf(runRecordSchema)],
    ['runners', pageOf(runnerRecordSchema)],
  ] as const)('of %s show a tenant its own, and page by an opaque cursor', async (name, schema) => {
    const own = await api.data(schema, 'GET', `/api/v1/${name}`, { token: acme });
    expect(own.items.map((item) => item.tenantId)).toEqual(['acme', 'acme']);
    expect(own).toMatchObject({ hasMore: false, nextCursor: null });

    const first = await api.data(schema, 'GET', `/api/v1/${name}?limit=2`);
    expect(first).toMatchObject({ hasMore: true });
    expect(first.nextCursor).toMatch(/^[A-Za-z0-9_-]+$/);
    const second = await api.data(schema, 'GET', `/api/v1/${name}?limit=2&cursor=${first.nextCursor ?? ''}`);
    expect(second).toMatchObject({ hasMore: false, nextCursor: null });
    expect([...first.items, ...second.items].map((item) => item.tenantId)).toEqual([
      'umbrella',
      'acme',
      'acme',
    ]);
    // A cursor says where a page begins, not what its reader may see.
    const foreign = await api.data(schema, 'GET', `/api/v1/${name}?cursor=${first.nextCursor ?? ''}`, {
      token: acme,
    });
    expect(foreign.items).toHaveLength(1);
  });

  it('take the profile by name and alias; an empty name switches the alias off (contract.md 3.2)', async () => {
    expect(await sessionIds('backendProfile=command')).toEqual(['s1']);
    expect(await sessionIds('profile=command')).toEqual(['s1']);
    expect(await sessionIds('backendProfile=codex&profile=command')).toEqual(['s2', 's0']);
    expect(await sessionIds('backendProfile=&profile=command')).toEqual(['s2', 's1', 's0']);
    expect(await sessionIds('profile=&limit=&cursor=&state=&labels=&readerId=')).toEqual(['s2', 's1', 's0']);
  });

  it('choose by labels', async () => {
    expect(await sessionIds('labels=nr=1')).toEqual(['s1']);
    expect(await sessionIds('labels=nr,nr=2', acme)).toEqual([]);
    expect(await sessionIds('labels=nr', acme)).toEqual(['s1', 's0']);
  });

  it.each([
    ['sessions?state=busy', 'query.state'],
    ['sessions?backendProfile=other', 'query.backendProfile'],
    ['sessions?profile=other', 'query.profile'],
    ['sessions?cursor=x', 'query.cursor'],
    ['sessions?limit=501', 'query.limit'],
    ['sessions?labels=%01', 'query.labels'],
    ['sessions?labels=a%3D%01', 'query.labels'],
    ['sessions?labels=a,b,c,d,e,f,g,h,i,j,k', 'query.labels'],
    ['runs?status=active', 'query.status'],
    ['runs?sessionId=-', 'query.sessionId'],
    ['runners?state=dead', 'query.state'],
  ])('refuse %s and name what is wrong', async (target, path) => {
    const answer = await api.call('GET', `/api/v1/${target}`);
    expect([answer.status, answer.body.failureKind]).toEqual([400, 'schema-invalid']);
    expect(answer.body.message).toContain(path);
  });
});
