import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { readPidFile, removePidFile, writePidFile } from '../../../infra/processes/pid-file.js';
import {
  endProcessGroup,
  isProcessGroupAlive,
  killProcessGroup,
} from '../../../infra/processes/process-group.js';
import {
  isSameProcessAlive,
  type ProcessIdentity,
  parseProcessStat,
  readProcessIdentity,
} from '../../../infra/processes/process-identity.js';
import { descendantGroups } from '../../../infra/processes/process-tree.js';

const started: ProcessIdentity[] = [];

afterEach(() => {
  for (const leader of started.splice(0)) killProcessGroup(leader, 'SIGKILL');
});

/** A shell script in a process group of its own; resolves when it has printed a line. */
async function startGroup(script: string): Promise<ProcessIdentity> {
  const child = spawn('bash', ['-c', script], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  await once(child.stdout, 'data');
  const identity = child.pid === undefined ? undefined : readProcessIdentity(child.pid);
  if (identity === undefined) throw new Error('it did not start');
  started.push(identity);
  return identity;
}

describe('parseProcessStat', () => {
  const rest = (startTime: number) =>
    `S 1 40 40 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 ${startTime} 1000 1 18446744073709551615`;

  it.each([
    { name: 'a plain name', text: `42 (node) ${rest(777)}`, startTime: 777 },
    { name: 'a name with blanks and parentheses', text: `42 (a) S (b) c) ${rest(778)}`, startTime: 778 },
  ])('$name', ({ text, startTime }) => {
    expect(parseProcessStat(text)).toEqual({ state: 'S', parent: 1, processGroup: 40, startTime });
  });

  it('answers nothing for something else', () => {
    expect(parseProcessStat('no such file')).toBeUndefined();
  });
});

describe('a process identity', () => {
  it('is this process, and nobody with the same pid but another start', () => {
    const self = readProcessIdentity(process.pid);
    if (self === undefined) throw new Error('no /proc');
    expect(isSameProcessAlive(self)).toBe(true);
    expect(isSameProcessAlive({ ...self, startTime: self.startTime + 1 })).toBe(false);
    expect(killProcessGroup({ ...self, startTime: self.startTime + 1 }, 'SIGKILL')).toBe(false);
  });

  it('counts a zombie as dead', async () => {
    // The parent never looks after its child, which therefore stays a zombie.
    const parent = spawn('bash', ['-c', 'sleep 0.3 & echo $!; exec sleep 30'], { detached: true });
    const output: unknown = (await once(parent.stdout, 'data'))[0];
    const parentIdentity = readProcessIdentity(parent.pid ?? 0);
    if (parentIdentity !== undefined) started.push(parentIdentity);
    const zombie = readProcessIdentity(Number(String(output)));
    if (zombie === undefined) throw new Error('the child is gone altogether');
    await expect.poll(() => isSameProcessAlive(zombie)).toBe(false);
    expect(readProcessIdentity(zombie.pid)).toEqual(zombie);
  });
});

describe('a process group', () => {
  it('ends by the first signal when it listens', async () => {
    const leader = await startGroup('echo up; sleep 30 & wait');
    expect(await endProcessGroup(leader, { signal: 'SIGTERM', graceMs: 3_000 })).toBe('ended');
    expect(await endProcessGroup(leader, { signal: 'SIGTERM', graceMs: 3_000 })).toBe('gone');
  });

  it('is killed with its grandchildren when it does not', async () => {
    const leader = await startGroup('trap "" TERM; (trap "" TERM; sleep 30) & echo up; sleep 30');
    expect(await endProcessGroup(leader, { signal: 'SIGTERM', graceMs: 200 })).toBe('killed');
    expect(isProcessGroupAlive(leader)).toBe(false);
  });

  it('is reached after its leader has died', async () => {
    const leader = await startGroup('sleep 30 & echo up; exit 0');
    await expect.poll(() => isSameProcessAlive(leader)).toBe(false);
    expect(isProcessGroupAlive(leader)).toBe(true);
    expect(await endProcessGroup(leader, { signal: 'SIGTERM', graceMs: 3_000 })).toBe('ended');
  });

  it('below another one is found', async () => {
    const leader = await startGroup('setsid sleep 30 & sleep 0.2; echo up; wait');
    const below = descendantGroups(leader.pid);
    started.push(...below);
    expect(below).toHaveLength(1);
    expect(below[0]?.pid).not.toBe(leader.pid);
  });
});

describe('a pid file', () => {
  it('is for the owner only, and one that holds something else counts as absent', () => {
    const folder = mkdtempSync(join(tmpdir(), 'agentrun-pid-'));
    try {
      const file = join(folder, 'x.json');
      expect(readPidFile(file)).toBeUndefined();
      writePidFile(file, { pid: 7, startTime: 8 }, { name: 'x' });
      expect(readPidFile(file)).toEqual({ pid: 7, startTime: 8 });
      expect(statSync(file).mode & 0o777).toBe(0o600);
      writeFileSync(file, '{"pid":-1}');
      expect(readPidFile(file)).toBeUndefined();
      removePidFile(file);
      removePidFile(file);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
