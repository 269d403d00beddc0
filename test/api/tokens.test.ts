import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leaseAnswerSchema } from '../../contract/runners.js';
import { writeAttempt } from '../../store/turn-steps.js';
import { adminToken, apiTokens, attemptSettings, startApi, type TestApi } from '../support/api.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import { messageLines, postEvents, type ServingRunner, startTurn } from '../support/turns.js';

let postgres: TestPostgres;
let database: TestDatabase;
let api: TestApi;
beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
  api = await startApi(database);
});
afterAll(async () => {
  await api.stop();
  await postgres.stop();
});

/** The status of a GET with these header bytes, which `fetch` would refuse to send. */
function rawStatus(...headers: Buffer[]): Promise<number> {
  const { hostname, port } = new URL(api.url);
  const lines = headers.map((header) => Buffer.concat([header, Buffer.from('\r\n')]));
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    let text = '';
    socket.setTimeout(5_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0)));
    socket.write(
      Buffer.concat([
        Buffer.from(`GET /api/v1/sessions/none HTTP/1.1\r\nhost: ${hostname}\r\nconnection: close\r\n`),
        ...lines,
        Buffer.from('\r\n'),
      ]),
    );
  });
}
const header = (value: string) => Buffer.from(`authorization: ${value}`, 'latin1');
const found = 404;

// requirements.md A.2.d 34.
describe('an API token', () => {
  const first = adminToken.replace(/^./, 'X');
  const last = adminToken.replace(/.$/, 'X');
  it.each<[string, string, number]>([
    ['that is right', `Bearer ${adminToken}`, found],
    ['with another case of the scheme', `bEARER ${adminToken}`, found],
    ['with blanks around it', `Bearer   ${adminToken}  `, found],
    ['with another first byte', `Bearer ${first}`, 401],
    ['with another last byte', `Bearer ${last}`, 401],
    ['that is a prefix', `Bearer ${adminToken.slice(0, -1)}`, 401],
    ['that is longer', `Bearer ${adminToken}x`, 401],
    ['that is empty', 'Bearer ', 401],
    ['without a scheme', adminToken, 401],
    ['of another scheme', `Basic ${adminToken}`, 401],
    ['in two words', `Bearer ${adminToken} x`, 401],
    ['of letters outside ASCII', 'Bearer gr\u00fc\u00dfe', 401],
    ['of bytes that are no UTF-8', 'Bearer \u00ff\u00fe\u0080', 401],
    ['of another digest length', `Bearer ${'a'.repeat(64)}`, 401],
  ])('%s', async (_name, value, status) => {
    expect(await rawStatus(header(value))).toBe(status);
  });

  it('that is missing is 401, as are two of them, equal or not', async () => {
    expect(await rawStatus()).toBe(401);
    expect(await rawStatus(header(`Bearer ${adminToken}`), header(`Bearer ${adminToken}`))).toBe(401);
    expect(await rawStatus(header(`Bearer ${adminToken}`), header('Bearer other'))).toBe(401);
    expect(await rawStatus(header('Bearer other'), header(`Bearer ${adminToken}`))).toBe(401);
  });

  it.each([
    ['blanks', `Bearer${' '.repeat(14_000)}x y`],
    ['letters', `Bearer ${'a'.repeat(14_000)} x`],
    ['dots', `Bearer ${'.'.repeat(14_000)}`],
  ])('is read in linear time, also of 14,000 %s', async (_name, value) => {
    const startedAt = performance.now();
    expect(await rawStatus(header(value))).toBe(401);
    expect(performance.now() - startedAt).toBeLessThan(500);
  });
});

describe('a token of a runner', () => {
  const heartbeat = (runner: ServingRunner, token: string) =>
    api.call('PATCH', `/api/v1/runs/${runner.runId}/lease`, { token, body: { runnerId: runner.runnerId } });

  it('is good for its own routes: another kind is 401, another run 403, an API route 401', async () => {
    const [runner, other] = [await startTurn(api), await startTurn(api)];
    const ingest = (token: string) => postEvents(api, runner, messageLines(1, 1), token);
    for (const token of [runner.launchToken, runner.runnerToken])
      expect((await ingest(token)).body).toMatchObject({ failureKind: 'unauthorized' });
    expect((await ingest(other.runToken)).body).toMatchObject({ failureKind: 'forbidden' });
    const read = await api.call('GET', `/api/v1/runs/${runner.runId}`, { token: runner.runToken });
    expect(read.body).toMatchObject({ failureKind: 'unauthorized' });
    const next = await api.call('GET', `/api/v1/runners/${runner.runnerId}/next`, { token: runner.runToken });
    expect(next.body).toMatchObject({ failureKind: 'unauthorized' });
    const foreign = await api.call('GET', `/api/v1/runners/${other.runnerId}/next`, {
      token: runner.runnerToken,
    });
    expect(foreign.body).toMatchObject({ failureKind: 'forbidden' });
  });

  it('that was signed by a key of another installation is 401', async () => {
    const stranger = await startApi(database);
    const runner = await startTurn(api);
    const answer = await stranger.call('PATCH', `/api/v1/runs/${runner.runId}/lease`, {
      token: runner.runToken,
      body: { runnerId: runner.runnerId },
    });
    await stranger.stop();
    expect([answer.status, answer.body.failureKind]).toEqual([401, 'unauthorized']);
  });

  it('brings a fresh run token after an outage, as long as its attempt is current', async () => {
    const runner = await startTurn(api);
    // The run token of before the outage has expired; that of the runner lives as long as it.
    const fresh = await heartbeat(runner, runner.runnerToken);
    expect(fresh.status).toBe(200);
    const { runToken } = leaseAnswerSchema.parse(fresh.body.data);
    expect((await postEvents(api, runner, messageLines(1, 2), runToken)).status).toBe(200);
    await writeAttempt(database.pool, attemptSettings, runner.runId, 2);
    const late = await heartbeat(runner, runner.runnerToken);
    expect([late.status, late.body.failureKind]).toEqual([409, 'fenced']);
  });

  it('of a runner does not renew the run of another', async () => {
    const [runner, other] = [await startTurn(api), await startTurn(api)];
    const answer = await api.call('PATCH', `/api/v1/runs/${other.runId}/lease`, {
      token: runner.runnerToken,
      body: { runnerId: runner.runnerId },
    });
    expect([answer.status, answer.body.failureKind]).toEqual([409, 'fenced']);
  });
});

it('no answer and no error shows a token', async () => {
  const runner = await startTurn(api);
  const answers = await Promise.all([
    api.call('GET', '/health', { token: null }),
    api.call('GET', '/api/v1/sessions/none', { token: 'agr_wrong_0123456789abcdef' }),
    api.call('PATCH', `/api/v1/runs/${runner.runId}/lease`, { token: `${runner.runToken}x`, body: {} }),
  ]);
  for (const { text } of answers) {
    expect(text).not.toContain('agr_wrong_0123456789abcdef');
    expect(text).not.toContain(runner.runToken);
    for (const { token } of apiTokens) expect(text).not.toContain(token);
  }
});
