import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentEndedError } from '../../runner/drivers/agent-processes.js';
import { FakeCodex } from './support/fake-codex.js';
import { FakeManager } from './support/fake-manager.js';
import { descendantsOf, type StartedRunner, startRunner } from './support/runner-processes.js';

describe('Codex that the kernel killed for its memory', () => {
  let codex: FakeCodex;
  beforeEach(() => {
    codex = new FakeCodex();
  });
  afterEach(() => codex.dispose());

  test('in a turn: the failure is the memory, not the agent', async () => {
    await codex.turn();
    codex.exit({ outOfMemory: true });
    expect(await codex.end()).toMatchObject({
      status: 'failed',
      failureKind: 'runner-oom-killed',
      message: 'the agent process ended (killed because the memory of its container ran out)',
    });
  });

  test('killed by anybody else: an error of the agent', async () => {
    await codex.turn();
    codex.exit();
    expect(await codex.end()).toMatchObject({ failureKind: 'agent-error' });
  });

  test('before the turn began: whoever waits learns the reason', async () => {
    await codex.thread();
    codex.answers['turn/start'] = () => undefined;
    const prompted = codex.driver.prompt('cmd_one', { prompt: 'go' });
    codex.exit({ outOfMemory: true });
    const error = await prompted.catch((reason: unknown) => reason);
    expect(error).toMatchObject({ cause: { failureKind: 'runner-oom-killed' } });
    expect(error instanceof Error && error.cause).toBeInstanceOf(AgentEndedError);
  });
});

const memoryGroups = '/sys/fs/cgroup/memory';
/** Only root on a machine with control groups of version 1 can make one here; test/kubernetes has containers with a real limit. */
const canLimit = process.getuid?.() === 0 && existsSync(join(memoryGroups, 'cgroup.procs'));

/** Real processes in a control group with a real limit, and a kernel that kills. */
describe.runIf(canLimit)('a runner whose memory runs out', { timeout: 60_000 }, () => {
  const group = join(memoryGroups, `agentrun-test-${process.pid}`);
  /** agent-host itself has about 50 MB. */
  const limitBytes = 300 * 1024 * 1024;
  const eat = `${process.execPath} -e 'const all = []; for (;;) all.push(Buffer.alloc(10_000_000, 1))'`;
  let manager: FakeManager;
  let runner: StartedRunner | undefined;

  beforeEach(async () => {
    manager = new FakeManager();
    await manager.listen();
    mkdirSync(group);
    writeFileSync(join(group, 'memory.limit_in_bytes'), String(limitBytes));
  });
  afterEach(async () => {
    await runner?.dispose();
    runner = undefined;
    await manager.stop();
    // A killed process leaves its group a moment after it is gone.
    await expect.poll(() => readFileSync(join(group, 'cgroup.procs'), 'utf8')).toBe('');
    rmdirSync(group);
  });

  function start(line: string): string {
    const runId = manager.addRun(line, { backendProfile: 'command' });
    runner = startRunner({
      managerUrl: manager.url,
      providerUrl: 'http://127.0.0.1:9',
      runId,
      backendProfile: 'command',
    });
    // Before it looks which group it is in.
    writeFileSync(join(group, 'cgroup.procs'), String(runner.agentHost.pid));
    return runId;
  }

  test('the agent itself is killed: the attempt ends as one out of memory, told by the runner', async () => {
    const runId = start(`exec ${eat}`);
    expect(await manager.outcome(runId)).toMatchObject({
      terminalStatus: 'failed',
      failureKind: 'runner-oom-killed',
      failureMessage: 'killed because the memory of its container ran out',
    });
  });

  test('a tool of the agent is killed: the agent says how it went on', async () => {
    const runId = start(`${eat}; echo "the tool ended with $?"`);
    expect(await manager.outcome(runId)).toMatchObject({ terminalStatus: 'completed' });
    const said = await manager.event(runId, 'agent_message');
    expect(said.payload.text).toContain('the tool ended with 137');
  });

  test('an agent that somebody kills is not out of memory', async () => {
    const runId = start('sleep 60; true');
    await manager.event(runId, 'command_execution');
    const pid = await manager.until('the command', () => descendantsOf(runner?.agentHost.pid ?? 0)[0]);
    process.kill(pid, 'SIGKILL');
    expect(await manager.outcome(runId)).toMatchObject({ failureKind: 'agent-error' });
  });
});
