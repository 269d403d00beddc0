import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readExitReason } from '../../infra/processes/exit-reason.js';
import { exitCodes } from '../../runner/supervisor/supervisor.js';
import { serverPort } from '../support/server-port.js';
import { FakeManager } from './support/fake-manager.js';
import { type StartedRunner, startRunner } from './support/runner-processes.js';

/** Real runner processes that are told a wrong way to the API: they say so and end, before the agent gets anything. */
describe('a runner that cannot begin', { timeout: 60_000 }, () => {
  let manager: FakeManager;
  let page: Server;
  let runner: StartedRunner | undefined;

  beforeEach(async () => {
    manager = new FakeManager();
    await manager.listen();
    page = createServer((_request, response) => {
      response.writeHead(404, { 'content-type': 'text/html' }).end('<html>not here</html>');
    });
  });
  afterEach(async () => {
    await runner?.dispose();
    await manager.stop();
    page.closeAllConnections();
    page.close();
  });

  async function endOf(managerUrl: string) {
    const runId = manager.addRun('true', { backendProfile: 'command' });
    runner = startRunner({ managerUrl, providerUrl: 'http://127.0.0.1:9', runId, backendProfile: 'command' });
    const code = await runner.supervisorExit;
    await runner.agentHostExit;
    return { code, reason: readExitReason(join(runner.directory, 'exit-reason.json')), log: runner.log() };
  }

  test('because another service answers: exit code 2, URL and variable named, each refusal logged', async () => {
    const url = `http://127.0.0.1:${await serverPort(page)}`;
    const { code, reason, log } = await endOf(url);
    expect(code).toBe(exitCodes.misconfigured);
    expect(reason).toEqual({
      exitCode: exitCodes.misconfigured,
      message: `what answers at ${url} (from AGENTRUN_INTERNAL_MGR_URL) is not the AgentRun API: HTTP 404 for GET /api/v1/whoami`,
    });
    expect(log.match(/"path":"\/api\/v1\/whoami","status":404/g)).toHaveLength(4);
    expect(manager.registered).toEqual([]);
  });

  test('because the path of the URL is wrong: exit code 2 at once', async () => {
    const { code, reason } = await endOf(`${manager.url}/wrong`);
    expect(code).toBe(exitCodes.misconfigured);
    expect(reason?.message).toContain(`${manager.url}/wrong (from AGENTRUN_INTERNAL_MGR_URL)`);
    expect(reason?.message).toContain('correct its path');
    expect(manager.registered).toEqual([]);
  });

  test('because its token is not taken: an exit code of its own', async () => {
    manager.refusesLaunchToken = true;
    const { code, reason, log } = await endOf(manager.url);
    expect([code, reason?.exitCode]).toEqual([exitCodes.tokenRefused, exitCodes.tokenRefused]);
    expect(reason?.message).toContain('refuses the launch token');
    expect(log).not.toContain('launch-token-that-nobody-may-see');
    expect(manager.registered).toEqual([]);
  });

  test('but one that meets an API of 0.1.0 begins: only the question who it is goes without an answer', async () => {
    manager.knowsNoWhoami = true;
    const runId = manager.addRun('true', { backendProfile: 'command' });
    runner = startRunner({
      managerUrl: manager.url,
      providerUrl: 'http://127.0.0.1:9',
      runId,
      backendProfile: 'command',
    });
    expect(await manager.outcome(runId)).toMatchObject({ terminalStatus: 'completed' });
    expect(manager.registered).toHaveLength(1);
  });
});
