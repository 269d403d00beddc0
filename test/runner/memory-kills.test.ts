import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { countFiles, MemoryKills } from '../../runner/agent-host/memory-kills.js';

describe('where the count of a control group stands', () => {
  test.each([
    ['version 2, in a container', '0::/\n', ['/sys/fs/cgroup/memory.events', '/sys/fs/cgroup/memory.events']],
    [
      'version 2, on a machine',
      '0::/user.slice/session-1.scope\n',
      ['/sys/fs/cgroup/user.slice/session-1.scope/memory.events', '/sys/fs/cgroup/memory.events'],
    ],
    [
      'version 1, beside an empty version 2',
      '4:memory:/kubepods/pod1/abc\n3:cpu,cpuacct:/\n0::/\n',
      [
        '/sys/fs/cgroup/memory/kubepods/pod1/abc/memory.oom_control',
        '/sys/fs/cgroup/memory/memory.oom_control',
        '/sys/fs/cgroup/memory.events',
        '/sys/fs/cgroup/memory.events',
      ],
    ],
    ['nothing', '', []],
  ])('%s', (_name, cgroups, files) => {
    expect(countFiles(cgroups)).toEqual(files);
  });
});

describe('kills by the kernel', () => {
  let directory: string;
  let file: string;
  let kills: MemoryKills | undefined;

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    directory = mkdtempSync(join(tmpdir(), 'agentrun-kills-'));
    file = join(directory, 'memory.events');
    count(7);
  });
  afterEach(() => {
    kills?.stop();
    vi.useRealTimers();
    rmSync(directory, { recursive: true, force: true });
  });

  const count = (number: number) =>
    writeFileSync(file, `low 0\nhigh 0\nmax 91\noom ${number + 1}\noom_kill ${number}\noom_group_kill 0\n`);

  test('what the group counted before is none of this runner', () => {
    kills = new MemoryKills([join(directory, 'absent'), file]);
    expect(kills.isRecent).toBe(false);
    count(8);
    expect(kills.isRecent).toBe(true);
  });

  test('a kill of some time ago explains no exit of now', () => {
    kills = new MemoryKills([file]);
    kills.watch();
    count(8);
    vi.advanceTimersByTime(5_000);
    expect(kills.isRecent).toBe(false);
    count(9);
    expect(kills.isRecent).toBe(true);
  });

  test('without a control group nothing is known', () => {
    kills = new MemoryKills([join(directory, 'absent')]);
    expect(kills.isRecent).toBe(false);
  });
});
