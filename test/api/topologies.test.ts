import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { routeTable } from '../../api/routes/index.js';
import { whoamiSchema } from '../../contract/system.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { adminToken, startApi, type TestApi } from '../support/api.js';
import { type Gateway, startGateway } from '../support/gateway.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { readSourceFiles } from '../support/source-files.js';
import { messageLines, postEvents, type ServingRunner, startTurn } from '../support/turns.js';

const prefix = '/agentrun';
let postgres: TestPostgres;
let api: TestApi;
let runner: ServingRunner;
let verbatim: Gateway;
let stripping: Gateway;
const doubled: (string | undefined)[] = [];
const logged: string[] = [];

beforeAll(async () => {
  postgres = await startPostgres();
  const destination = { write: (line: string) => void logged.push(line) };
  api = await startApi(await postgres.newDatabase(), {
    pathPrefix: prefix,
    onDoubledPrefix: (route) => doubled.push(route),
    logger: createLogger({ name: 'test-api', level: 'warn', destination }),
  });
  runner = await startTurn(api);
  await postEvents(api, runner, messageLines(1, 3));
  [verbatim, stripping] = await Promise.all([startGateway(api.url, null), startGateway(api.url, prefix)]);
});
afterAll(async () => {
  await Promise.all([verbatim.stop(), stripping.stop()]);
  await api.stop();
  await postgres.stop();
});

const topologies = ['direct', 'verbatim proxy', 'strip proxy'] as const;
const shapes = [
  ['without the prefix', ''],
  ['with the prefix', prefix],
  ['with the prefix twice', prefix + prefix],
] as const;
const baseOf = (topology: (typeof topologies)[number]) =>
  ({ direct: api.url, 'verbatim proxy': verbatim.url, 'strip proxy': stripping.url })[topology];

interface Case {
  readonly method?: string;
  readonly path: (runId: string) => string;
  readonly status: number;
  readonly token?: null;
  readonly upload?: true;
}
const cases: Readonly<Record<string, Case>> = {
  health: { path: () => '/health', status: 200, token: null },
  'health, as HEAD': { method: 'HEAD', path: () => '/health', status: 200, token: null },
  item: { path: (runId) => `/api/v1/runs/${runId}`, status: 200 },
  'item with a slash': { path: (runId) => `/api/v1/runs/${runId}/`, status: 200 },
  collection: { path: (runId) => `/api/v1/runs/${runId}/events?afterSeq=1&limit=2`, status: 200 },
  'collection with a slash': {
    path: (runId) => `/api/v1/runs/${runId}/events/?afterSeq=1&limit=2`,
    status: 200,
  },
  'long poll': { path: (runId) => `/api/v1/runs/${runId}/events?afterSeq=1000&waitMs=200`, status: 200 },
  upload: { method: 'POST', path: (runId) => `/api/v1/runs/${runId}/ingest`, status: 200, upload: true },
  'without a token': { path: (runId) => `/api/v1/runs/${runId}`, status: 401, token: null },
  'unknown route': { path: () => '/api/v1/nothing?x=%2Fagentrun', status: 404 },
  'unknown thing': { path: () => '/api/v1/sessions/nobody', status: 404 },
  'wrong method': { method: 'PATCH', path: () => '/health', status: 405 },
};

async function answerOf(base: string, shape: string, asked: Case) {
  const isUpload = asked.upload === true;
  const token = isUpload ? runner.runToken : adminToken;
  const lines = messageLines(1, 3).map((line) => JSON.stringify(line));
  const response = await fetch(`${base}${shape}${asked.path(runner.runId)}`, {
    method: asked.method ?? 'GET',
    headers: {
      ...(asked.token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(isUpload ? { 'content-type': 'application/x-ndjson' } : {}),
    },
    ...(isUpload ? { body: `${lines.join('\n')}\n` } : {}),
    redirect: 'manual',
  });
  const text = await response.text();
  const body = text === '' ? {} : z.record(z.string(), z.unknown()).parse(JSON.parse(text));
  const { traceId: _traceId, ...rest } = body;
  return { status: response.status, allow: response.headers.get('allow'), body: withoutTrace(rest) };
}

/** The id of the trace stands in the error too. */
const withoutTrace = (body: object): unknown =>
  JSON.parse(JSON.stringify(body, (key: string, value: unknown) => (key === 'traceId' ? undefined : value)));

describe.each(Object.entries(cases))('%s', (_name, asked) => {
  it(`answers ${asked.status}, the same for every topology and shape`, async () => {
    const reference = await answerOf(api.url, '', asked);
    expect(reference.status).toBe(asked.status);
    const all = topologies.flatMap((topology) =>
      shapes.map(([, shape]) => [baseOf(topology), shape] as const),
    );
    for (const answer of await Promise.all(all.map(([base, shape]) => answerOf(base, shape, asked)))) {
      expect(answer).toEqual(reference);
    }
  });
});

describe('a doubled prefix', () => {
  it('is counted by the route that was meant, and warned about once a minute with the caller', async () => {
    doubled.length = 0;
    await answerOf(api.url, prefix + prefix, { path: (runId) => `/api/v1/runs/${runId}`, status: 200 });
    await answerOf(api.url, prefix + prefix, { path: () => '/nothing', status: 404 });
    await expect.poll(() => doubled).toEqual(['/api/v1/runs/:runId', undefined]);
    const warnings = logged.filter((line) => line.includes('more than once'));
    expect(warnings).toHaveLength(1);
    for (const word of ['run_', '/nothing']) expect(warnings[0]).not.toContain(word);
    expect(JSON.parse(warnings[0] ?? '')).toMatchObject({
      level: 'warn',
      prefix,
      times: 2,
      userAgent: expect.any(String) as unknown,
    });
  });
});

describe('redirects', () => {
  it('are nowhere: every route answers with and without a slash, with and without the prefix, no 3xx', async () => {
    for (const { contract } of routeTable(api.deps)) {
      const path = contract.path.replace(/:[A-Za-z]+/g, 'unknown');
      for (const target of [path, `${path}/`, `${prefix}${path}`, `${prefix}${path}/`, `/${prefix}${path}`]) {
        const { status, headers } = await fetch(`${api.url}${target}`, {
          method: 'HEAD',
          redirect: 'manual',
        });
        expect([target, status < 300 || status >= 400, headers.get('location')]).toEqual([
          target,
          true,
          null,
        ]);
      }
    }
  });

  it('are nowhere in the code', () => {
    const redirecting = /\.redirect\(|\.location\(|setHeader\(\s*['"]location['"]/i;
    const found = readSourceFiles().filter(
      (file) => ['api', 'infra'].includes(file.room) && redirecting.test(file.tree.text),
    );
    expect(found.map((file) => file.path)).toEqual([]);
  });
});

describe('an upgrade', () => {
  // No route is a WebSocket: without a handler for upgrades Node treats such a request as any other, so it passes the same layers.
  it.each([
    ['websocket', '/health', 200],
    ['websocket', `${prefix}/health`, 200],
    ['websocket', `${prefix}${prefix}/nothing`, 404],
    ['h2c', `${prefix}/api/v1/whoami`, 401],
  ])('to %s on %s is answered over HTTP with %i', async (protocol, path, status) => {
    const { port } = new URL(api.url);
    const socket = connect(Number(port), '127.0.0.1');
    const lines = [
      `GET ${path} HTTP/1.1`,
      'Host: localhost',
      'Connection: Upgrade, close',
      `Upgrade: ${protocol}`,
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      'Sec-WebSocket-Version: 13',
    ];
    socket.write(`${lines.join('\r\n')}\r\n\r\n`);
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(answer).toMatch(/content-type: application\/json/i);
  });
});

describe('the installation', () => {
  it('has one id, which whoami and health agree on', async () => {
    const who = await api.data(whoamiSchema, 'GET', '/api/v1/whoami');
    expect(who).toMatchObject({ kind: 'api', name: 'admin', scopes: ['admin'], tenantId: null });
    const ofRunner = await api.data(whoamiSchema, 'GET', '/api/v1/whoami', { token: runner.runToken });
    expect(ofRunner).toMatchObject({ kind: 'run', runId: runner.runId, epoch: 1 });
    for (const path of ['/health', '/health/live', '/agentrun/readyz']) {
      const health = await api.call('GET', path, { token: null });
      expect([path, health.body.data]).toEqual([
        path,
        expect.objectContaining({ installationId: who.installationId }),
      ]);
    }
    expect(ofRunner.installationId).toBe(who.installationId);
  });
});
