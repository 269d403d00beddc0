import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { adminToken, newKeySet } from '../support/api.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';

let postgres: TestPostgres;
const folder = mkdtempSync(join(tmpdir(), 'agentrun-api-'));
const children: ChildProcess[] = [];
beforeAll(async () => {
  postgres = await startPostgres();
  writeFileSync(join(folder, 'keys.json'), JSON.stringify(newKeySet('k1')));
});
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL');
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
});

const readySchema = z.object({ msg: z.literal('ready'), port: z.number() });

function startMain(env: Record<string, string>): {
  child: ChildProcess;
  ready: Promise<number>;
  errors: () => string;
} {
  const child = spawn(process.execPath, ['--import', 'tsx', 'api/main.ts'], {
    cwd: packageRoot(),
    env: childEnvironment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  children.push(child);
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ready = (async () => {
    for await (const line of createInterface({ input: child.stdout })) {
      const parsed = readySchema.safeParse(JSON.parse(line));
      if (parsed.success) return parsed.data.port;
    }
    throw new Error(`never ready: ${errors}`);
  })();
  ready.catch(() => undefined);
  return { child, ready, errors: () => errors };
}

describe('the API process', () => {
  it('serves without Temporal, and ends with 0 on SIGTERM though a long poll is open', async () => {
    const { url } = await postgres.newDatabase();
    const { child, ready } = startMain({
      DATABASE_URL: url,
      TEMPORAL_ADDRESS: '127.0.0.1:1',
      AGENTRUN_API_PORT: '0',
      AGENTRUN_API_TOKEN: adminToken,
      AGENTRUN_RUNNER_KEYS_FILE: join(folder, 'keys.json'),
    });
    const base = `http://127.0.0.1:${await ready}`;
    const headers = { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' };
    const created = await fetch(`${base}/api/v1/runs`, {
      method: 'POST',
      headers,
      body: JSON.stringify({ tenantId: 'acme', projectId: 'web' }),
    });
    const { data } = z.object({ data: z.object({ id: z.string() }) }).parse(await created.json());
    expect((await fetch(`${base}/readyz`)).status).toBe(503);
    const poll = fetch(`${base}/api/v1/runs/${data.id}/events?waitMs=25000`, { headers });
    await sleep(300);
    const startedAt = performance.now();
    child.kill('SIGTERM');
    await once(child, 'exit');
    expect([child.exitCode, performance.now() - startedAt < 3_000]).toEqual([0, true]);
    expect((await poll).status).toBe(200);
  });

  it('ends with 2 on wrong configuration and names the variables', async () => {
    const { child, errors } = startMain({ AGENTRUN_API_PORT: 'eighty' });
    await once(child, 'exit');
    expect(child.exitCode).toBe(2);
    expect(errors()).toMatch(/AGENTRUN_API_PORT: expected a whole number/);
    expect(errors()).toMatch(/AGENTRUN_RUNNER_KEYS_FILE: is not set/);
  });
});
