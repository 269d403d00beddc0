import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createLogger } from '../../infra/telemetry/logger.js';
import { apiTokens, startApi, type TestApi } from '../support/api.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import { messageLines, postEvents, startTurn } from '../support/turns.js';

let postgres: TestPostgres;
let database: TestDatabase;
const apis: TestApi[] = [];
beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
});
afterAll(async () => {
  await Promise.all(apis.map((api) => api.stop()));
  await postgres.stop();
});

async function start(overrides: Parameters<typeof startApi>[1]): Promise<TestApi> {
  const api = await startApi(database, overrides);
  apis.push(api);
  return api;
}

const look = (api: TestApi, more: Parameters<TestApi['call']>[2] = {}) =>
  api.call('GET', '/api/v1/sessions/none', more);
const reader = apiTokens[1]?.token ?? '';

describe('the limit of a caller', () => {
  it('is told in each answer, and when it is reached with the seconds to wait', async () => {
    const api = await start({ rateLimitPerMinute: 3 });
    for (const rest of [2, 1, 0]) {
      const answer = await look(api);
      expect(answer.status).toBe(404);
      expect(answer.headers.get('ratelimit-policy')).toMatch(/^"caller"; q=3; w=60/);
      expect(answer.headers.get('ratelimit')).toMatch(new RegExp(`^"caller"; r=${rest}; t=\\d+`));
    }
    const over = await look(api);
    expect([over.status, over.body.failureKind]).toEqual([429, 'rate-limited']);
    expect(Number(over.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(Number(over.headers.get('retry-after'))).toBeLessThanOrEqual(60);
  });

  it('is its own, comes before the body, and leaves health and unknown callers alone', async () => {
    const api = await start({ rateLimitPerMinute: 1 });
    await look(api);
    const over = await api.call('POST', '/api/v1/sessions', { body: '{' });
    expect(over.status).toBe(429);
    expect((await look(api, { token: reader })).status).toBe(404);
    expect((await look(api, { token: null })).status).toBe(401);
    expect((await api.call('GET', '/health/live', { token: null })).status).toBe(200);
  });

  it('is not that of runners', async () => {
    const api = await start({ rateLimitPerMinute: 4 });
    const runner = await startTurn(api);
    for (let batch = 1; batch <= 8; batch += 1)
      expect((await postEvents(api, runner, messageLines(batch, batch))).status).toBe(200);
  });

  it('does not end for a runner because of its live text', async () => {
    const api = await start({ rateLimitPerMinute: 1 });
    const runner = await startTurn(api);
    const statuses = new Set<number>();
    for (let piece = 0; piece < 15; piece += 1) {
      const body = { after: 0, deltas: [{ itemId: 'item', offset: 0, text: 'word ' }] };
      const path = `/api/v1/runs/${runner.runId}/deltas`;
      statuses.add((await api.call('POST', path, { body, token: runner.runToken })).status);
    }
    expect([...statuses]).toEqual([200, 429]);
    expect((await postEvents(api, runner, messageLines(1, 1))).status).toBe(200);
  });
});

describe('unknown tokens', () => {
  const status = async (api: TestApi, token: string, more: Parameters<TestApi['call']>[2] = {}) =>
    (await look(api, { ...more, token })).status;

  it('make their address wait; a known token of it is as good as before', async () => {
    const api = await start({ unknownTokensPerMinute: 3 });
    const { runToken } = await startTurn(api);
    for (const token of ['agr_guess_1', 'agr_guess_2', 'agr_guess_3'])
      expect(await status(api, token)).toBe(401);
    const over = await look(api, { token: 'agr_guess_4' });
    expect([over.status, over.body.failureKind]).toEqual([429, 'rate-limited']);
    expect(Number(over.headers.get('retry-after'))).toBeGreaterThan(0);
    expect(await status(api, reader)).toBe(404);
    expect((await api.call('GET', '/api/v1/whoami', { token: runToken })).status).toBe(200);
  });

  it('count by the client behind as many proxies as are trusted, not by what a client claims', async () => {
    const from = (address: string) => ({ headers: { 'x-forwarded-for': address } });
    const direct = await start({ unknownTokensPerMinute: 1 });
    expect(await status(direct, 'agr_guess', from('192.0.2.1'))).toBe(401);
    expect(await status(direct, 'agr_guess', from('192.0.2.2'))).toBe(429);
    const proxied = await start({ unknownTokensPerMinute: 1, trustedProxies: 1 });
    expect(await status(proxied, 'agr_guess', from('192.0.2.1'))).toBe(401);
    expect(await status(proxied, 'agr_guess', from('192.0.2.1'))).toBe(429);
    expect(await status(proxied, 'agr_guess', from('192.0.2.2'))).toBe(401);
  });

  it('are signed ones too, unless they were good once: every runner comes with one after an outage', async () => {
    const api = await start({ unknownTokensPerMinute: 1 });
    const { runToken } = await startTurn(api);
    const claims = { run: 'run_x', epoch: 1, job: 'job', jobId: 'job_x' };
    const { token: expired } = await api.deps.runnerTokens.mintLaunch(claims, -3_600_000);
    for (let attempt = 0; attempt < 3; attempt += 1) expect(await status(api, expired)).toBe(401);
    expect(await status(api, `${runToken}x`)).toBe(401);
    expect(await status(api, `${runToken}x`)).toBe(429);
    expect(await status(api, expired)).toBe(401);
  });

  it('behind a proxy that nobody has told of: the log says it once', async () => {
    const lines: string[] = [];
    const destination = { write: (line: string) => void lines.push(line) };
    const logger = createLogger({ name: 'test-api', level: 'warn', destination });
    const headers = { 'x-forwarded-for': '192.0.2.1' };
    for (const trustedProxies of [1, 0]) {
      const api = await start({ trustedProxies, logger });
      for (let request = 0; request < 3; request += 1) await look(api, { headers });
    }
    expect(lines.filter((line) => line.includes('AGENTRUN_TRUSTED_PROXIES'))).toHaveLength(1);
  });
});
