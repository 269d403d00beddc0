import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { isRunnerRoute } from '../../api/audit.js';
import { requestFailureKinds } from '../../contract/failure-kinds.js';
import { idPrefixes } from '../../contract/ids.js';
import type { OperationId } from '../../contract/routes/index.js';
import { newId } from '../../store/new-id.js';
import { createPool } from '../../store/pool.js';
import { fakeGateway, startApi, type TestApi } from '../support/api.js';
import { useApi } from '../support/use-api.js';
import {
  declaredFailures,
  declaredKinds,
  otherTenantsToken,
  shownElsewhere,
} from './support/declared-failures.js';
import { successes } from './support/route-fixtures.js';
import { ask, everyRoute, outcomeOf, pathOf, type WalkedRoute } from './support/route-walk.js';

const acmeAdmin = 'agr_acme_admin_0123456789';
const apiTokens = [
  { name: 'admin', token: 'agr_admin_0123456789abcdef', scopes: ['admin' as const], tenantId: undefined },
  { name: 'acme-admin', token: acmeAdmin, scopes: ['admin' as const], tenantId: 'acme' },
  { name: 'other', token: otherTenantsToken, scopes: ['operate' as const], tenantId: 'other' },
];
const { api, database } = await useApi({ apiTokens });
const world = { api, database };

const told = everyRoute.flatMap((route) =>
  [...declaredKinds(route.contract)].map((kind) => ({
    ...route,
    kind,
    status: requestFailureKinds[kind].status,
  })),
);

describe('the failures that routes declare', () => {
  it('each have a row that brings them about, and no row is left over', () => {
    const rows = everyRoute.flatMap(({ id }) =>
      Object.keys({ ...declaredFailures[id], ...shownElsewhere[id] }).map((kind) => `${id} ${kind}`),
    );
    const needed = told
      .filter(({ contract, kind }) => kind !== 'not-found' || contract.failures.includes(kind))
      .map(({ id, kind }) => `${id} ${kind}`);
    expect(rows.toSorted()).toEqual(needed.toSorted());
  });

  it.each(told.filter(({ id, kind }) => shownElsewhere[id]?.[kind] === undefined))(
    '$id answers $status $kind',
    async (route) => {
      const { id, contract, kind, status } = route;
      const how = declaredFailures[id]?.[kind];
      const { params, ...asked } =
        how === undefined
          ? { ...(await successes[id](world)), params: {}, token: undefined }
          : await how(world);
      const { token, ...rest } = asked;
      const answer = await ask(api, route, pathOf(contract, params), {
        ...rest,
        ...(token === undefined ? {} : { token }),
      });
      expect([outcomeOf(answer), answer.text.slice(0, 300)]).toEqual([
        `${status} ${kind}`,
        expect.any(String),
      ]);
    },
  );
});

describe('a body that is too large', () => {
  it.each(everyRoute.filter(({ contract }) => contract.bodyKind !== 'none'))(
    'is refused by $id',
    async (route) => {
      const { params, ...asked } = await successes[route.id](world);
      const body = JSON.stringify({ x: 'x'.repeat(1_048_576) });
      const answer = await ask(api, route, pathOf(route.contract, params), { ...asked, body });
      expect(outcomeOf(answer)).toBe('413 payload-too-large');
    },
  );
});

/** Routes that ask neither Postgres nor Temporal, and health, which says in its body what it cannot reach. */
const independent: readonly OperationId[] = [
  'health',
  'liveness',
  'livenessAlias',
  'readiness',
  'readinessAlias',
  'listBackends',
];
const dependent = everyRoute.filter(({ id }) => !independent.includes(id));

/** A request as far as its own API lets it come, asked of one that is out of order. */
async function askBroken(broken: TestApi, { id, contract }: WalkedRoute, token: string) {
  const { params, body, headers } = await successes[id](world);
  const jobId = z.looseObject({ jobId: z.string().optional() }).safeParse(body).data?.jobId;
  const ids = { runnerId: params?.runnerId ?? '', runId: params?.runId, jobId };
  const runnerToken = await tokenFor(broken, id, ids);
  return broken.call(contract.method.toUpperCase(), pathOf(contract, params), {
    body,
    ...(headers === undefined ? {} : { headers: { ...headers } }),
    token: runnerToken ?? token,
  });
}

/** Where only a runner comes as far as the database. */
async function tokenFor(
  { deps }: TestApi,
  id: OperationId,
  {
    runnerId,
    runId = newId(idPrefixes.run),
    jobId = newId(idPrefixes.runnerJob),
  }: { runnerId: string; runId?: string | undefined; jobId?: string | undefined },
): Promise<string | undefined> {
  const { runnerTokens } = deps;
  if (id === 'sendDeltas')
    return (await runnerTokens.mintRun({ runId, epoch: 1, runnerId, jobName: `job-${runnerId}` })).token;
  if (id === 'nextWork' || id === 'renewRunner') {
    const claims = { runner: runnerId, job: `job-${runnerId}`, session: 's' };
    return (await runnerTokens.mintRunner(claims, Date.now() + 60_000)).token;
  }
  if (id !== 'registerRunner') return undefined;
  const claims = { run: newId(idPrefixes.run), epoch: 1, job: 'job', jobId };
  return (await runnerTokens.mintLaunch(claims, 60_000)).token;
}

describe('without Postgres', async () => {
  const pool = createPool({
    connectionString: 'postgres://nobody:canary-password@127.0.0.1:1/none',
    applicationName: 'test',
    onError: () => undefined,
  });
  const broken = await startApi(database, { apiTokens, pool });
  afterAll(async () => {
    await broken.stop();
    await pool.end();
  });

  it.each(dependent)('$id answers 503 and when to come back', async (route) => {
    const answer = await askBroken(broken, route, acmeAdmin);
    expect([route.id, outcomeOf(answer)]).toEqual([route.id, '503 unavailable']);
    expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
    expect(answer.text).not.toMatch(/canary|ECONN|127\.0\.0\.1/);
  });
});

describe('with a defect', async () => {
  const pool = createPool({
    connectionString: database.url,
    applicationName: 'test',
    onError: () => undefined,
  });
  const broken = await startApi(database, { apiTokens, pool, gateway: fakeGateway(pool) });
  const defect = () => Promise.reject(new Error('a defect that quotes canary-sql: select secret'));
  Object.assign(pool, {
    connect: defect,
    // The audit log works: what fails is what the request is about.
    query: (text: string, values: unknown[]) =>
      /(?:into|update) audit_log/.test(text) ? database.pool.query(text, values) : defect(),
  });
  afterAll(async () => {
    await broken.stop();
    await pool.end();
  });

  it.each(dependent)('$id answers 500 without a word of it', async (route) => {
    const answer = await askBroken(broken, route, acmeAdmin);
    expect([route.id, outcomeOf(answer)]).toEqual([route.id, '500 infra-failed']);
    expect(answer.text).not.toContain('canary');
  });
});

describe('over its rate', async () => {
  const guarded = everyRoute.filter(({ contract }) => contract.auth !== 'none');
  const tokenOf = (id: string) => `agr_${id}_0123456789abcdef`;
  const limited = await startApi(database, {
    apiTokens: everyRoute.map(({ id }) => ({
      name: id,
      token: tokenOf(id),
      scopes: ['admin' as const],
      tenantId: undefined,
    })),
    rateLimitPerMinute: 1,
  });
  afterAll(() => limited.stop());

  it.each(guarded)('$id answers 429 and when to come back', async (route) => {
    const { id, contract } = route;
    const token = (await tokenFor(limited, id, { runnerId: `runner-of-${id}` })) ?? tokenOf(id);
    const once = () => ask(limited, route, pathOf(contract), { token });
    for (let left = isRunnerRoute(contract) || token !== tokenOf(id) ? 10 : 1; left > 0; left -= 1)
      expect((await once()).status).not.toBe(429);
    const answer = await once();
    expect(outcomeOf(answer)).toBe('429 rate-limited');
    expect(answer.headers.get('retry-after')).toMatch(/^\d+$/);
  });
});
