import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeManager } from './support/fake-manager.js';
import { type StartedRunner, startRunner } from './support/runner-processes.js';

/** A runner whose session lives on a volume that nobody but its pod sees: real processes. */
describe('the size of a session', { timeout: 60_000 }, () => {
  let manager: FakeManager;
  const runners: StartedRunner[] = [];

  beforeEach(async () => {
    manager = new FakeManager();
    await manager.listen();
  });
  afterEach(async () => {
    for (const runner of runners.splice(0)) await runner.dispose();
    await manager.stop();
  });

  function start(line: string, isMeasured = true): { runId: string; runner: StartedRunner } {
    const runId = manager.addRun(line, { backendProfile: 'command' });
    const runner = startRunner({
      managerUrl: manager.url,
      providerUrl: 'http://127.0.0.1:9',
      runId,
      backendProfile: 'command',
      isMeasured,
    });
    runners.push(runner);
    return { runId, runner };
  }
  const told = (count: number) =>
    manager.until(`report ${count}`, () => manager.storageTold.length >= count && manager.storageTold.at(-1));

  test('is told after each turn, and no turn waits for it', async () => {
    const { runId } = start('mkdir deep; printf 12345 > deep/file; printf 1 > other');
    await manager.outcome(runId);
    const first = await told(1);
    expect(first).toMatchObject({ sessionId: 'session', turnsEnded: 1 });
    expect(first.facts).toMatchObject({ storageSizeBytes: 6, storageFilesCount: 2 });
    expect(first.facts.storageSha256).toMatch(/^[0-9a-f]{64}$/);
    // What the volume is called is not the runner's to say.
    expect(first.facts).not.toHaveProperty('pvcName');
    const next = manager.addRun('rm other', { backendProfile: 'command' });
    manager.handOver(next);
    await manager.outcome(next);
    expect((await told(2)).facts).toMatchObject({ storageSizeBytes: 5, storageFilesCount: 1 });
  });

  test('counts no file outside of it, whatever the agent links there', async () => {
    const { runId, runner } = start(
      'ln -s /etc/passwd file; ln -s /etc folder; mkfifo pipe; ln -s . itself; printf 1 > own',
    );
    await manager.outcome(runId);
    expect((await told(1)).facts).toMatchObject({ storageSizeBytes: 1, storageFilesCount: 1 });
    expect(runner.log()).not.toContain('not told');
  });

  test('is told by a runner that closes, before it is gone', async () => {
    manager.runnerState = 'closing';
    const { runner } = start('printf 123 > file');
    expect(await runner.supervisorExit).toBe(0);
    expect(manager.storageTold).toMatchObject([{ facts: { storageSizeBytes: 3 } }]);
  });

  test('a runner whose files the worker sees itself says nothing', async () => {
    const { runner } = start('true', false);
    await manager.until('the idle long poll', () => manager.idlePolls > 0);
    runner.supervisor.kill('SIGTERM');
    await runner.supervisorExit;
    expect(manager.storageTold).toEqual([]);
  });

  test('a refusal stops nothing', async () => {
    manager.refusesStorage = true;
    const { runId } = start('true');
    await manager.outcome(runId);
    await told(1);
    const next = manager.addRun('echo later', { backendProfile: 'command' });
    manager.handOver(next);
    expect(await manager.outcome(next)).toMatchObject({ terminalStatus: 'completed' });
  });
});
