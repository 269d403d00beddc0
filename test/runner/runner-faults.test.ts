import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createScriptedModelServer, type ScriptedModelServer } from '../../tools/scripted-model/server.js';
import { FakeManager, type FakeRunOptions } from './support/fake-manager.js';
import { descendantsOf, isAlive, type StartedRunner, startRunner } from './support/runner-processes.js';

/** What happens to a runner of real processes that is killed, stopped, or cut off. */
describe('a runner under faults', { timeout: 60_000 }, () => {
  let manager: FakeManager;
  let model: ScriptedModelServer;
  const runners: StartedRunner[] = [];

  beforeEach(async () => {
    manager = new FakeManager();
    await manager.listen();
    model = await createScriptedModelServer();
  });

  afterEach(async () => {
    // The later first: they share a folder.
    for (const runner of runners.splice(0).toReversed()) {
      runner.supervisor.kill('SIGCONT');
      await runner.dispose();
    }
    await manager.stop();
    await model.close();
  });

  function start(
    runId: string,
    backendProfile: 'codex' | 'command',
    later: { epoch?: number; directory?: string } = {},
  ): StartedRunner {
    const providerUrl = `${model.url}/v1`;
    const runner = startRunner({ managerUrl: manager.url, providerUrl, runId, backendProfile, ...later });
    runners.push(runner);
    return runner;
  }

  const command = (line: string, options: FakeRunOptions = {}) =>
    manager.addRun(line, { backendProfile: 'command', ...options });
  const begun = (runId: string) =>
    manager.event(runId, 'command_execution', (payload) => payload.status === 'inProgress');
  const agentsOf = (runner: StartedRunner) => descendantsOf(runner.agentHost.pid ?? 0);

  test('SIGTERM while idle: it leaves in order', async () => {
    const runId = command('true');
    const runner = start(runId, 'command');
    await manager.outcome(runId);
    await manager.until('the idle long poll', () => manager.idlePolls > 0);
    const startedAt = performance.now();
    runner.supervisor.kill('SIGTERM');
    expect(await runner.supervisorExit).toBe(0);
    expect(await runner.agentHostExit).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });

  test('cancel: an agent that ignores the interrupt is killed within the deadline', async () => {
    const runId = command('trap "" TERM INT; while :; do sleep 0.1; done');
    const runner = start(runId, 'command');
    await begun(runId);
    const agents = agentsOf(runner);
    expect(agents.length).toBeGreaterThan(0);
    const startedAt = performance.now();
    manager.cancel(runId, 'enough', 3_000);
    expect(await manager.outcome(runId)).toMatchObject({ terminalStatus: 'cancelled' });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    const phases = manager.run(runId).events.map((event) => event.payload.phase);
    expect(phases).toEqual(
      expect.arrayContaining(['interrupt-sent', 'process-group-killed', 'turn-cancelled']),
    );
    await expect.poll(() => agents.filter(isAlive), { timeout: 5_000 }).toEqual([]);
  });

  test('cut off beyond its bound it fences itself: agent killed, exit code 4, nothing reported', async () => {
    const runId = command('trap "" TERM INT; while :; do sleep 0.1; done', {
      leaseMs: 1_000,
      policy: { partitionGraceMs: 1_000 },
    });
    const runner = start(runId, 'command');
    await begun(runId);
    const agents = agentsOf(runner);
    manager.down = true;
    expect(await runner.supervisorExit).toBe(4);
    manager.down = false;
    expect(await runner.agentHostExit).toBe(0);
    expect(agents.filter(isAlive)).toEqual([]);
    expect(manager.run(runId).outcome).toBeNull();
    expect(runner.log()).toContain('no heartbeat succeeded for too long');
  });

  test('cut off for less than its bound: the agent goes on, and all it said arrives', async () => {
    const runId = command('for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done', {
      leaseMs: 1_000,
      policy: { partitionGraceMs: 20_000 },
    });
    start(runId, 'command');
    await begun(runId);
    manager.down = true;
    await new Promise((resolve) => setTimeout(resolve, 2_500));
    expect(manager.run(runId).outcome).toBeNull();
    manager.down = false;
    expect(await manager.outcome(runId)).toMatchObject({ terminalStatus: 'completed' });
    const said = manager.run(runId).events.find((event) => event.type === 'agent_message');
    expect(said?.payload.text).toBe('1\n2\n3\n4\n5\n6');
  });

  test('stopped beyond its lease and fenced meanwhile: after SIGCONT it writes nothing and leaves with 4', async () => {
    const runId = command('sleep 60', { leaseMs: 1_000 });
    const runner = start(runId, 'command');
    await begun(runId);
    const agents = agentsOf(runner);
    runner.supervisor.kill('SIGSTOP');
    const { length } = manager.run(runId).events;
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    manager.fenced = true;
    runner.supervisor.kill('SIGCONT');
    expect(await runner.supervisorExit).toBe(4);
    expect(await runner.agentHostExit).toBe(0);
    expect(agents.filter(isAlive)).toEqual([]);
    expect(manager.run(runId).events).toHaveLength(length);
    expect(manager.run(runId).outcome).toBeNull();
  });

  test('killed with -9 while the API is away: the next attempt uploads what it left', async () => {
    const runId = command('sleep 0.5; echo spoken; sleep 60', { leaseMs: 60_000 });
    const first = start(runId, 'command');
    await begun(runId);
    const stored = manager.run(runId).lastProducerSeq;
    manager.down = true;
    await expect.poll(() => agentsOf(first).length).toBeGreaterThan(0);
    // The end of the command is an event that finds no API.
    for (const pid of agentsOf(first)) process.kill(pid, 'SIGKILL');
    const spill = join(first.directory, 'supervisor', 'runs', runId);
    await expect.poll(() => first.log(), { timeout: 10_000 }).toContain('events were not taken');
    first.supervisor.kill('SIGKILL');
    await first.supervisorExit;
    await first.agentHostExit;
    expect(readdirSync(spill)).toContain('events-1.ndjson');
    manager.down = false;
    manager.nextAttempt(runId, {
      resume: {
        attempt: 2,
        maxAttempts: 3,
        formerFailureKind: 'runner-lost',
        formerReason: null,
        formerEndedAt: null,
        parked: null,
        compact: false,
      },
    });
    const prompt = manager.run(runId).commands[0];
    if (prompt !== undefined) prompt.state = 'acknowledged';
    start(runId, 'command', { epoch: 2, directory: first.directory });
    // An agent that keeps no ids: what was acknowledged is not run again, and the outcome says why.
    expect(await manager.outcome(runId)).toMatchObject({
      terminalStatus: 'failed',
      failureKind: 'runner-lost',
      failureMessage: expect.stringContaining('not sent twice') as unknown,
    });
    const spilled = manager.run(runId).spilled;
    expect(spilled[0]).toMatchObject({ epoch: 1, line: { seq: stored + 1 } });
    expect(spilled.map((one) => one.line.event.type)).toContain('command_execution');
    await expect.poll(() => readdirSync(join(first.directory, 'supervisor', 'runs'))).toEqual([]);
  });

  test('agent-host killed with -9 in the middle of a Codex turn: the attempt fails, the supervisor leaves with 1', async () => {
    const runId = manager.addRun('[[scenario:sleep seconds=60]] sleep');
    const runner = start(runId, 'codex');
    await begun(runId);
    const agents = agentsOf(runner);
    runner.agentHost.kill('SIGKILL');
    expect(await manager.outcome(runId)).toMatchObject({
      terminalStatus: 'failed',
      failureKind: 'agent-error',
      failureMessage: expect.stringContaining('agent-host is gone') as unknown,
    });
    expect(await runner.supervisorExit).toBe(1);
    // Nobody is left to kill them but the launcher, which reads the pid file.
    for (const pid of agents.filter(isAlive)) process.kill(pid, 'SIGKILL');
  });
});
