import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runRecordSchema } from '../../contract/runs.js';
import { type MetricsServing, serveMetrics } from '../../infra/telemetry/metrics-server.js';
import { adminToken, startApi, type TestApi } from '../support/api.js';
import { parseExposition, type Sample, seriesOf } from '../support/exposition.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';

let postgres: TestPostgres;
let database: TestDatabase;
let api: TestApi;
let metrics: MetricsServing;

beforeAll(async () => {
  postgres = await startPostgres();
  database = await postgres.newDatabase();
  api = await startApi(database);
  const serving = await serveMetrics(
    api.deps.metrics.process.registry,
    { host: '127.0.0.1', port: 0 },
    api.deps.logger,
  );
  if (serving === undefined) throw new Error('no metrics');
  metrics = serving;
});
afterAll(async () => {
  await metrics?.close(500);
  await api?.stop();
  await postgres?.stop();
});

/** Of the process there may be a first collection of garbage at any time. */
async function scrapeOwn(): Promise<Sample[]> {
  return (await scrape()).filter(({ name }) => name.startsWith('agentrun_'));
}

async function scrape(): Promise<Sample[]> {
  const response = await fetch(`http://127.0.0.1:${metrics.port}/metrics`);
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toContain('text/plain; version=0.0.4');
  return parseExposition(await response.text());
}

const value = (samples: readonly Sample[], name: string, labels: Record<string, string> = {}) =>
  samples
    .filter((one) => one.name === name && Object.entries(labels).every(([key, is]) => one.labels[key] === is))
    .reduce((sum, one) => sum + one.value, 0);

describe('the metrics of the API', () => {
  it('count requests by operation, method and status, and refused callers by reason', async () => {
    await api.call('GET', '/health/live');
    await api.call('POST', '/api/v1/sessions', { body: { tenantId: 'a', projectId: 'b' } });
    await api.call('GET', '/api/v1/sessions/unknown');
    await api.call('GET', '/api/v1/sessions/unknown', { token: null });
    await api.call('GET', '/api/v1/sessions/unknown', { token: 'x'.repeat(40) });
    await api.call('DELETE', '/api/v1/runs');
    await api.call('GET', '/nowhere');
    // The last answer is counted when its connection has taken it.
    await expect
      .poll(async () => value(await scrape(), 'agentrun_http_requests_total', { operation: 'none' }))
      .toBe(2);
    const samples = await scrape();
    const requests = (labels: Record<string, string>) =>
      value(samples, 'agentrun_http_requests_total', labels);
    expect(requests({ operation: 'createSession', method: 'POST', status: '200' })).toBe(1);
    expect(requests({ operation: 'getSession', status: '404' })).toBe(1);
    expect(requests({ operation: 'getSession', status: '401' })).toBe(2);
    expect(requests({ operation: 'none', status: '405' })).toBe(1);
    expect(requests({ operation: 'none', status: '404' })).toBe(1);
    expect(value(samples, 'agentrun_auth_failures_total')).toBe(2);
    expect(value(samples, 'agentrun_auth_failures_total', { reason: 'missing' })).toBe(1);
    expect(value(samples, 'agentrun_http_request_duration_seconds_count', { operation: 'getSession' })).toBe(
      3,
    );
    expect(value(samples, 'agentrun_http_requests_in_flight')).toBe(0);
    expect(value(samples, 'agentrun_listener_connected')).toBe(1);
    expect(value(samples, 'agentrun_telemetry_failures_total')).toBe(0);
    expect(value(samples, 'process_resident_memory_bytes')).toBeGreaterThan(1_000_000);
  });

  it('show a long poll while it is open', async () => {
    const { id } = await api.data(runRecordSchema, 'POST', '/api/v1/runs', {
      body: { tenantId: 'a', projectId: 'b' },
    });
    const polling = api.call('GET', `/api/v1/runs/${id}/events?waitMs=20000&afterSeq=1000`);
    await expect.poll(async () => value(await scrape(), 'agentrun_long_polls_open')).toBe(1);
    await api.call('POST', `/api/v1/runs/${id}/cancel`, { body: {} });
    await polling;
    await expect.poll(async () => value(await scrape(), 'agentrun_long_polls_open')).toBe(0);
  });

  it('make no series of what callers send', async () => {
    const before = new Set((await scrapeOwn()).map(seriesOf));
    const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND', 'LINK'];
    const asked = Array.from({ length: 1_000 }, (_, index) => {
      const word = `w${(index * 7_919).toString(36)}`;
      const path = [`/${word}`, `/api/v1/${word}/x`, `/api/v1/sessions/${word}`, `/api/v1/runs/run_${word}`][
        index % 4
      ];
      return {
        method: methods[index % methods.length] ?? 'GET',
        path: path ?? '/',
        token: index % 3 === 0 ? word : null,
      };
    });
    for (let at = 0; at < asked.length; at += 20) {
      await Promise.all(
        asked.slice(at, at + 20).map(({ method, path, token }) => api.call(method, path, { token })),
      );
    }
    const fresh = (await scrapeOwn()).filter((sample) => !before.has(seriesOf(sample)));
    const words = new Set(fresh.flatMap(({ labels }) => Object.values(labels)));
    for (const word of words) expect(word).not.toMatch(/^w[0-9a-z]{2,}$/);
    // Operations, methods, statuses and reasons that were not asked for before.
    const counters = fresh.filter(({ name }) => !name.startsWith('agentrun_http_request_duration'));
    expect(counters.length).toBeLessThan(60);
    const again = new Set((await scrapeOwn()).map(seriesOf));
    for (const { method, path, token } of asked.slice(0, 100))
      await api.call(method, `${path}z`, {
        token: token === null || token === adminToken ? token : `${token}y`,
      });
    expect((await scrapeOwn()).map(seriesOf).filter((series) => !again.has(series))).toEqual([]);
  });

  it.each(['/', '/metrics/', '/metric', '/health/live', '/api/v1/runs'])(
    'serve nothing at %s',
    async (path) => {
      const response = await fetch(`http://127.0.0.1:${metrics.port}${path}`);
      expect(response.status).toBe(404);
      expect(await response.text()).toBe('');
    },
  );

  it('serve no other method', async () => {
    const response = await fetch(`http://127.0.0.1:${metrics.port}/metrics`, { method: 'POST' });
    expect(response.status).toBe(404);
  });
});
