import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readPidFileAs } from '../../infra/processes/pid-file.js';
import { type ProcessIdentity, processIdentitySchema } from '../../infra/processes/process-identity.js';
import { createScriptedModelServer, type ScriptedModelServer } from '../../tools/scripted-model/server.js';
import { FakeManager } from './support/fake-manager.js';
import {
  childrenOf,
  descendantsOf,
  isAlive,
  launchToken,
  providerKey,
  type StartedRunner,
  startRunner,
  visibleOf,
} from './support/runner-processes.js';

describe('a runner of real processes', { timeout: 60_000 }, () => {
  let manager: FakeManager;
  let model: ScriptedModelServer;
  let runner: StartedRunner | undefined;

  beforeEach(async () => {
    manager = new FakeManager();
    await manager.listen();
    model = await createScriptedModelServer();
  });

  afterEach(async () => {
    await runner?.dispose();
    runner = undefined;
    await manager.stop();
    await model.close();
  });

  function start(runId: string, backendProfile: 'codex' | 'command' = 'codex'): StartedRunner {
    runner = startRunner({ managerUrl: manager.url, providerUrl: `${model.url}/v1`, runId, backendProfile });
    return runner;
  }

  test('Codex: a turn with a steer, then a warm turn on the same app-server, then an orderly close', async () => {
    const runId = manager.addRun('[[scenario:hold name=first]] say something');
    const { agentHost, supervisor, workspace, directory, supervisorExit, agentHostExit, log } = start(runId);
    execFileSync('git', ['init', '-q', workspace]);

    await manager.event(runId, 'command_execution', (payload) => payload.status === 'completed');
    const [codex] = childrenOf(agentHost.pid ?? 0);
    if (codex === undefined) throw new Error('agent-host has no child');
    const seen = [agentHost.pid ?? 0, ...descendantsOf(agentHost.pid ?? 0)].map(visibleOf);
    expect(seen.join('')).toContain('AGENTRUN_PROVIDER_KEY=agentrun-');
    expect(seen.join('')).not.toContain(providerKey);
    expect(seen.join('')).not.toContain(launchToken);
    expect(visibleOf(supervisor.pid ?? 0)).not.toContain(launchToken);
    expect(visibleOf(supervisor.pid ?? 0)).not.toContain(providerKey);
    expect(existsSync(join(directory, 'launch.json'))).toBe(false);

    const steer = manager.steer(runId, 'please mention the word albatross');
    await manager.until('the ack of the steer', () => manager.run(runId).acknowledged.includes(steer));
    model.release('first');
    const outcome = await manager.outcome(runId);
    expect(outcome.terminalStatus).toBe('completed');
    expect(outcome.threadId).not.toBe('');
    expect(outcome.turnId).not.toBe('');
    const events = manager.run(runId).events;
    const types = events.map((event) => event.type);
    expect(types).toEqual(
      expect.arrayContaining(['user_message', 'agent_message', 'command_execution', 'usage']),
    );
    expect(events.find((event) => event.type === 'steer_delivery')?.payload).toEqual({
      commandId: steer,
      delivery: 'delivered',
    });
    expect(JSON.stringify(model.requests().at(-1)?.body)).toContain('albatross');
    const usage = events.filter((event) => event.type === 'usage');
    expect(usage.some((event) => event.payload.source === 'proxy' && event.payload.httpStatus === 200)).toBe(
      true,
    );
    expect(usage.some((event) => event.payload.source === 'agent')).toBe(true);

    const second = manager.addRun('[[scenario:echo]] once more', { threadId: outcome.threadId ?? null });
    manager.handOver(second);
    expect(await manager.outcome(second)).toMatchObject({
      terminalStatus: 'completed',
      threadId: outcome.threadId,
    });
    expect(childrenOf(agentHost.pid ?? 0)).toEqual([codex]);
    const agentUsage = manager.run(second).events.filter((event) => event.payload.source === 'agent');
    const proxyUsage = manager.run(second).events.filter((event) => event.payload.source === 'proxy');
    expect(agentUsage.at(-1)?.payload.totalTokens).toBe(proxyUsage.at(-1)?.payload.totalTokens);

    manager.closeRunner();
    expect(await supervisorExit).toBe(0);
    expect(await agentHostExit).toBe(0);
    expect(isAlive(codex)).toBe(false);
    expect(existsSync(join(directory, 'supervisor.json'))).toBe(false);
    expect(existsSync(join(directory, 'agent-host.json'))).toBe(false);
    const told = `${log()}${JSON.stringify([...manager.runs.values()].map((run) => run.events))}`;
    for (const secret of [providerKey, launchToken, 'runner-token-1', 'run-token-0'])
      expect(told).not.toContain(secret);
    expect(new Set(manager.authorizations.slice(0, 2))).toEqual(new Set([`Bearer ${launchToken}`]));
  });

  test('Codex: its message is told while it is written, as soon as somebody watches and no longer', async () => {
    const runId = manager.addRun('[[scenario:long-answer pieces=40]] tell me');
    start(runId);
    const { deltas } = manager.run(runId);
    await manager.event(runId, 'user_message');
    await manager.until('a heartbeat', () => manager.run(runId).heartbeats > 0);
    expect(deltas).toEqual([]);
    manager.watch(runId, true);
    const { payload } = await manager.event(runId, 'agent_message');
    await manager.outcome(runId);
    let text = '';
    for (const { body, events } of deltas) {
      for (const { itemId, offset, text: piece } of body.deltas) {
        expect([itemId, offset]).toEqual([payload.itemId, text.length]);
        text += piece;
      }
      // What the API had by then is no more than what the runner says that it had made.
      expect(events).toBeLessThanOrEqual(body.after);
    }
    expect(deltas.length).toBeGreaterThan(5);
    expect(z.string().parse(payload.text).startsWith(text)).toBe(true);
    expect(text.length).toBeGreaterThan(100);
  });

  test('Codex: a cancel interrupts the turn and its running command', async () => {
    const runId = manager.addRun('[[scenario:sleep seconds=60]] sleep');
    const { agentHost } = start(runId);
    await manager.event(runId, 'command_execution', (payload) => payload.status === 'inProgress');
    const sleeper = await manager.until('the sleep', () =>
      descendantsOf(agentHost.pid ?? 0).find((pid) => visibleOf(pid).includes('sleep 60') || isSleep(pid)),
    );
    manager.cancel(runId, 'not needed any more');
    expect(await manager.outcome(runId)).toMatchObject({
      terminalStatus: 'cancelled',
      failureKind: 'cancelled',
      failureMessage: 'not needed any more',
    });
    await expect.poll(() => isAlive(sleeper), { timeout: 10_000 }).toBe(false);
  });

  test('Codex: SIGTERM ends the turn as runner-evicted and everything with it', async () => {
    const runId = manager.addRun('[[scenario:sleep seconds=60]] sleep');
    const { agentHost, supervisor, supervisorExit, agentHostExit } = start(runId);
    await manager.event(runId, 'command_execution', (payload) => payload.status === 'inProgress');
    const agents = descendantsOf(agentHost.pid ?? 0);
    const startedAt = Date.now();
    supervisor.kill('SIGTERM');
    expect(await manager.outcome(runId)).toMatchObject({
      terminalStatus: 'failed',
      failureKind: 'runner-evicted',
    });
    expect(await supervisorExit).toBe(0);
    expect(await agentHostExit).toBe(0);
    expect(Date.now() - startedAt).toBeLessThan(8_000);
    expect(agents.filter(isAlive)).toEqual([]);
  });

  test('Codex: a provider failure is classified, and the runner takes the next turn', async () => {
    const runId = manager.addRun('[[scenario:fail kind=insufficient_quota]] go');
    start(runId);
    expect(await manager.outcome(runId)).toMatchObject({
      terminalStatus: 'failed',
      failureKind: 'provider-quota',
    });
    const failed = manager.run(runId).events.find((event) => event.payload.phase === 'attempt-failed');
    expect(failed?.payload).toMatchObject({ failureKind: 'provider-quota', providerStatus: 429 });
    const second = manager.addRun('[[scenario:echo]] again', {
      threadId: manager.run(runId).outcome?.threadId ?? null,
    });
    manager.handOver(second);
    expect(await manager.outcome(second)).toMatchObject({ terminalStatus: 'completed' });
  });

  test('Codex: the app-server killed with -9 is an agent-error, and the next turn gets a new one', async () => {
    const runId = manager.addRun('[[scenario:hold name=never]] go');
    const { agentHost } = start(runId);
    await manager.event(runId, 'command_execution', (payload) => payload.status === 'completed');
    const [codex] = childrenOf(agentHost.pid ?? 0);
    process.kill(codex ?? 0, 'SIGKILL');
    const outcome = await manager.outcome(runId);
    expect(outcome).toMatchObject({ terminalStatus: 'failed', failureKind: 'agent-error' });
    expect(outcome.failureMessage).toContain('SIGKILL');
    const second = manager.addRun('[[scenario:echo]] again', { threadId: outcome.threadId ?? null });
    manager.handOver(second);
    expect(await manager.outcome(second)).toMatchObject({
      terminalStatus: 'completed',
      threadId: outcome.threadId,
    });
    expect(childrenOf(agentHost.pid ?? 0)).not.toContain(codex);
  });

  test('agent-host killed with -9: the attempt fails and the supervisor leaves with 1', async () => {
    const runId = manager.addRun('sleep 60', { backendProfile: 'command' });
    const { agentHost, supervisorExit, directory } = start(runId, 'command');
    const pidFile = join(directory, 'agent-host.json');
    await expect.poll(() => childLeaders(pidFile).length, { timeout: 10_000 }).toBe(1);
    const [leader] = childLeaders(pidFile);
    agentHost.kill('SIGKILL');
    expect(await manager.outcome(runId)).toMatchObject({
      terminalStatus: 'failed',
      failureKind: 'agent-error',
    });
    expect(await supervisorExit).toBe(1);
    // Nobody is left to kill it but the launcher, which reads the group's leader from the pid file.
    process.kill(-(leader?.pid ?? 0), 'SIGKILL');
  });

  test('fenced: nothing is reported, the agent is killed, exit code 4', async () => {
    const runId = manager.addRun('sleep 60', { backendProfile: 'command' });
    const { agentHost, supervisorExit, agentHostExit } = start(runId, 'command');
    await manager.event(runId, 'command_execution');
    const agents = descendantsOf(agentHost.pid ?? 0);
    manager.fenced = true;
    expect(await supervisorExit).toBe(4);
    expect(await agentHostExit).toBe(0);
    expect(manager.run(runId).outcome).toBeNull();
    expect(agents.filter(isAlive)).toEqual([]);
  });

  test('a refused claim ends with exit code 3', async () => {
    const runId = manager.addRun('true', { backendProfile: 'command' });
    manager.fenced = true;
    const { supervisorExit, agentHostExit } = start(runId, 'command');
    expect(await supervisorExit).toBe(3);
    expect(await agentHostExit).toBe(0);
  });
});

const pidFileSchema = z.object({ children: z.array(processIdentitySchema) });

function childLeaders(pidFile: string): ProcessIdentity[] {
  return readPidFileAs(pidFile, pidFileSchema)?.children ?? [];
}

function isSleep(pid: number): boolean {
  return visibleOf(pid).includes('sleep\u000060');
}
