import { createServer, type Server, type Socket } from 'node:net';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createWorkflowGateway } from '../../api/workflow-gateway.js';
import { healthSchema } from '../../contract/health.js';
import { createPool } from '../../store/pool.js';
import { startApi, type TestApi } from '../support/api.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { newSessionId, owner } from '../support/turns.js';

let postgres: TestPostgres;
let silent: Server;
const sockets = new Set<Socket>();
let connection: Connection;
let api: TestApi;
beforeAll(async () => {
  postgres = await startPostgres();
  // As a stopped (SIGSTOP) Temporal: it takes the connection and says nothing.
  silent = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const address = silent.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  connection = Connection.lazy({ address: `127.0.0.1:${port}` });
  const client = new Client({ connection });
  api = await startApi(await postgres.newDatabase(), { gateway: createWorkflowGateway(client, 'default') });
});
afterAll(async () => {
  await api.stop();
  await connection.close();
  for (const socket of sockets) socket.destroy();
  silent.close();
  await postgres.stop();
});

describe('while Temporal does not answer', () => {
  it('a send is 503 with Retry-After within 5 s', async () => {
    const startedAt = performance.now();
    const answer = await api.call('POST', `/api/v1/sessions/${newSessionId()}/send`, {
      body: { prompt: 'x', run: owner },
    });
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '2']);
    expect(answer.body).toMatchObject({
      failureKind: 'unavailable',
      error: { details: { outcome: 'unknown' } },
    });
  });

  it('readiness is 503 within two seconds, health and live are 200', async () => {
    const startedAt = performance.now();
    const ready = await api.call('GET', '/health/readiness', { token: null });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(ready.status).toBe(503);
    expect(healthSchema.parse(ready.body.data)).toMatchObject({
      ready: false,
      database: { ready: true },
      temporal: { ready: false },
      auth: { tokens: [{ name: 'admin', scopes: ['admin'] }, { name: 'reader' }, { name: 'acme' }] },
    });
    expect(ready.text).not.toMatch(/agr_|127\.0\.0\.1/);
    expect((await api.call('GET', '/health', { token: null })).status).toBe(200);
    expect((await api.call('GET', '/health/live', { token: null })).status).toBe(200);
  });
});

describe('while Postgres is not there', () => {
  it('requests are 503 without a word about it, live is 200', async () => {
    const pool = createPool({
      connectionString: 'postgres://someone:secret@127.0.0.1:1/db',
      applicationName: 'test',
      onError: () => undefined,
    });
    const lost = await startApi({ url: 'postgres://someone:secret@127.0.0.1:1/db', pool });
    try {
      const answer = await lost.call('GET', '/api/v1/sessions/x');
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '2']);
      expect(answer.text).not.toMatch(/127\.0\.0\.1|ECONN|someone|secret/);
      expect((await lost.call('GET', '/health/live')).status).toBe(200);
      expect((await lost.call('GET', '/readyz')).status).toBe(503);
    } finally {
      await lost.stop();
      await pool.end();
    }
  });
});
