import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type Server } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { anyPort, choosePort } from '../../cli/stack/ports.js';
import { readWorkerConfig } from '../../infra/config/worker-config.js';
import { startTracing } from '../../infra/telemetry/tracing.js';
import { connectTemporal } from '../../infra/temporal/client.js';
import { makeCertificates } from '../support/certificates.js';
import { serverPort } from '../support/server-port.js';
import { usePostgres } from '../support/use-postgres.js';
import { startWorkerProcess, type WorkerProcess } from '../support/worker-process.js';
import { Harness } from '../workflows/harness.js';

const postgres = await usePostgres();
const folder = mkdtempSync(join(tmpdir(), 'agentrun-mtls-'));
const serverName = 'temporal.test';
const files = makeCertificates(folder, serverName);
let harness: Harness;
let frontend: Server;
let address: string;
let worker: WorkerProcess | undefined;

beforeAll(async () => {
  harness = await Harness.start();
  const port = Number(harness.env.address.split(':').at(-1));
  // What stands in front of Temporal Cloud: it speaks HTTP/2, and with nobody whose certificate it does not know.
  frontend = createServer(
    {
      cert: readFileSync(files.server.certificate),
      key: readFileSync(files.server.key),
      ca: readFileSync(files.authority),
      requestCert: true,
      rejectUnauthorized: true,
      ALPNProtocols: ['h2'],
    },
    (client) => {
      const upstream = connect(port, '127.0.0.1');
      client.on('error', () => upstream.destroy());
      upstream.on('error', () => client.destroy());
      client.pipe(upstream).pipe(client);
    },
  );
  frontend.on('tlsClientError', () => undefined);
  address = `127.0.0.1:${await serverPort(frontend)}`;
});
afterAll(async () => {
  await worker?.kill();
  frontend?.close();
  await harness?.stop();
  rmSync(folder, { recursive: true });
});

const settings = () => ({
  TEMPORAL_ADDRESS: address,
  TEMPORAL_TLS_CA_FILE: files.authority,
  TEMPORAL_TLS_SERVER_NAME: serverName,
});
const certificate = {
  TEMPORAL_TLS_CERT_FILE: files.client.certificate,
  TEMPORAL_TLS_KEY_FILE: files.client.key,
};

/** As the API connects: whether Temporal answers. */
async function answers(env: Readonly<Record<string, string>>): Promise<boolean> {
  const { temporal } = readWorkerConfig({
    DATABASE_URL: 'postgres://user@127.0.0.1/agentrun',
    AGENTRUN_RUNNER_KEYS_FILE: '/keys.json',
    AGENTRUN_LAUNCHER: 'external',
    ...env,
  });
  const { connection } = connectTemporal(temporal, startTracing({ serviceName: 'test' }));
  try {
    await connection.withDeadline(Date.now() + 2_500, () => connection.workflowService.getSystemInfo({}));
    return true;
  } catch {
    return false;
  } finally {
    await connection.close();
  }
}

it('a client is let in with its certificate only, and believes only its authority', async () => {
  expect(await answers({ ...settings(), ...certificate })).toBe(true);
  expect(await answers(settings())).toBe(false);
  expect(await answers({ ...settings(), ...certificate, TEMPORAL_TLS_SERVER_NAME: 'other.test' })).toBe(
    false,
  );
  const { TEMPORAL_TLS_CA_FILE: _, ...withoutAuthority } = settings();
  expect(await answers({ ...withoutAuthority, ...certificate })).toBe(false);
});

it('a worker takes tasks through it, and says on its metrics port that it does', async () => {
  const port = await choosePort([anyPort]);
  worker = await startWorkerProcess({
    database: await postgres.newDatabase(),
    temporalAddress: settings().TEMPORAL_ADDRESS,
    webhookKey: 'a key of a test, which is long enough',
    env: { ...settings(), ...certificate, AGENTRUN_METRICS_PORT: String(port) },
  });
  const status = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).status;
  await expect.poll(() => status('/readyz'), { timeout: 10_000 }).toBe(200);
  expect(await status('/healthz')).toBe(200);
  expect(await status('/metrics')).toBe(200);
  expect(await status('/health')).toBe(404);
});
