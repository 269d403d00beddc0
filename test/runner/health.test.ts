import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createTcpServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { type HealthServing, type Missing, serveHealth } from '../../runner/supervisor/health-server.js';
import { FakeManager } from './support/fake-manager.js';
import { launchToken, type StartedRunner, startRunner } from './support/runner-processes.js';

describe('the health server', () => {
  let missing: Missing[] = [];
  let health: HealthServing;

  beforeEach(async () => {
    missing = [];
    health = await serveHealth(0, () => missing);
  });
  afterEach(() => health.close());

  const ask = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${health.port}${path}`, { method });

  test('liveness is shallow, readiness names what is missing', async () => {
    missing = ['agent-host', 'proxy'];
    expect((await ask('/healthz')).status).toBe(200);
    const notReady = await ask('/readyz');
    expect(notReady.status).toBe(503);
    expect(await notReady.json()).toEqual({ status: 'not-ready', missing: ['agent-host', 'proxy'] });
    missing = [];
    const ready = await ask('/readyz');
    expect(ready.status).toBe(200);
    expect(await ready.json()).toEqual({ status: 'ok', missing: [] });
  });

  test.each([
    ['GET', '/'],
    ['GET', '/health'],
    ['GET', '/healthz/'],
    ['GET', '/HEALTHZ'],
    ['GET', '/readyz?verbose=1'],
    ['GET', '/metrics'],
    ['GET', '/v1/responses'],
    ['POST', '/healthz'],
    ['DELETE', '/readyz'],
  ])('%s %s is not there', async (method, path) => {
    expect((await ask(path, method)).status).toBe(404);
  });

  test('a port that somebody has is an error', async () => {
    await expect(serveHealth(health.port, () => [])).rejects.toThrow('EADDRINUSE');
  });
});

describe('the probes of a real supervisor', { timeout: 60_000 }, () => {
  let manager: FakeManager;
  let runner: StartedRunner | undefined;
  let squatter: Server | undefined;
  const directory = mkdtempSync(join(tmpdir(), 'agentrun-health-'));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  beforeEach(async () => {
    manager = new FakeManager();
    await manager.listen();
  });
  afterEach(async () => {
    runner?.agentHost.kill('SIGCONT');
    await runner?.dispose();
    runner = undefined;
    squatter?.close();
    squatter = undefined;
    await manager.stop();
  });

  const start = (line: string, supervisorEnv: Record<string, string>) => {
    const runId = manager.addRun(line, { backendProfile: 'command' });
    const providerUrl = 'http://127.0.0.1:9';
    runner = startRunner({
      managerUrl: manager.url,
      providerUrl,
      runId,
      backendProfile: 'command',
      supervisorEnv,
    });
    return { runId, runner };
  };

  /** As the supervisor's log says it: port 0 asks for a free one. */
  async function portOf({ log }: StartedRunner): Promise<number> {
    const said = () => /"port":(\d+),"msg":"health is served"/.exec(log())?.[1];
    await expect.poll(said, { timeout: 15_000 }).toBeDefined();
    return Number(said());
  }

  const readiness = async (port: number) => {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
    const text = await answer.text();
    const { missing } = z.object({ missing: z.array(z.string()) }).parse(JSON.parse(text));
    return { status: answer.status, missing, text };
  };

  test('alive before agent-host is there, ready after, and not ready from SIGTERM on while the turn ends', async () => {
    const started = start('trap "" TERM INT; while :; do sleep 0.1; done', { AGENTRUN_HEALTH_PORT: '0' });
    // Its socket opens later than the supervisor looks for it.
    started.runner.agentHost.kill('SIGSTOP');
    const port = await portOf(started.runner);
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
    await expect.poll(async () => (await readiness(port)).missing).toEqual(['agent-host']);
    started.runner.agentHost.kill('SIGCONT');
    await expect.poll(async () => (await readiness(port)).status, { timeout: 15_000 }).toBe(200);
    const { text } = await readiness(port);
    for (const secret of [started.runId, 'session', launchToken]) expect(text).not.toContain(secret);
    await manager.event(started.runId, 'command_execution');
    started.runner.supervisor.kill('SIGTERM');
    await expect.poll(async () => (await readiness(port)).missing).toEqual(['draining']);
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200);
    await started.runner.supervisorExit;
  });

  test('a port that somebody else has: exit code 2 with the reason in the termination log, before anything was claimed', async () => {
    squatter = createTcpServer();
    const port = await new Promise<number>((resolve) => {
      squatter?.listen(0, '127.0.0.1', () => {
        const bound = squatter?.address();
        resolve(typeof bound === 'object' ? (bound?.port ?? 0) : 0);
      });
    });
    const log = join(directory, 'termination-log');
    writeFileSync(log, '');
    const { runner: started } = start('true', {
      AGENTRUN_HEALTH_PORT: String(port),
      AGENTRUN_EXIT_REASON_FILE: log,
    });
    expect(await started.supervisorExit).toBe(2);
    expect(readFileSync(log, 'utf8')).toMatch(new RegExp(`^port ${port} of the probes .*EADDRINUSE`));
    expect(manager.registered).toEqual([]);
    // It was not even read: the next attempt has one of its own.
    expect(existsSync(join(started.directory, 'launch.json'))).toBe(true);
  });

  test('agent-host that never comes: given up after the time that is set', async () => {
    const started = start('true', { AGENTRUN_AGENT_HOST_CONNECT_TIMEOUT_MS: '500' });
    started.runner.agentHost.kill('SIGSTOP');
    expect(await started.runner.supervisorExit).toBe(1);
    expect(started.runner.log()).toContain('agent-host cannot be reached');
  });
});
