import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { livingRunners, stopLocalRunners } from '../../cli/stack/local-runners.js';
import { writePidFile } from '../../infra/processes/pid-file.js';
import { isProcessGroupAlive, killProcessGroup } from '../../infra/processes/process-group.js';
import { type ProcessIdentity, readProcessIdentity } from '../../infra/processes/process-identity.js';
import { makeDataFolder } from '../support/data-folder.js';

let folder: ReturnType<typeof makeDataFolder>;
const started: ProcessIdentity[] = [];

beforeEach(() => {
  folder = makeDataFolder();
});

afterEach(() => {
  for (const leader of started.splice(0)) killProcessGroup(leader, 'SIGKILL');
  folder.remove();
});

/** One process of a runner: a script in its own process group, with its pid file. */
async function startPart(runner: string, part: string, script: string): Promise<ProcessIdentity> {
  const child = spawn('bash', ['-c', script], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
  await once(child.stdout, 'data');
  const identity = readProcessIdentity(child.pid ?? 0);
  if (identity === undefined) throw new Error('it did not start');
  started.push(identity);
  mkdirSync(join(folder.path, runner), { recursive: true });
  writePidFile(join(folder.path, runner, `${part}.json`), identity);
  return identity;
}

describe('stopLocalRunners', () => {
  it('interrupts the supervisor, which takes its agent-host along', async () => {
    const host = await startPart('job-1', 'agent-host', 'echo up; sleep 30');
    await startPart(
      'job-1',
      'supervisor',
      `trap 'kill -- -${host.pid} $!; exit 0' TERM; echo up; sleep 30 & wait`,
    );
    expect(livingRunners(folder.path).map((runner) => runner.name)).toEqual(['job-1']);

    const lines: string[] = [];
    const count = await stopLocalRunners({
      runnersDir: folder.path,
      graceMs: 4_000,
      log: (line) => lines.push(line),
    });
    expect(count).toBe(1);
    expect(lines).toEqual(['interrupting runner job-1']);
    expect(livingRunners(folder.path)).toEqual([]);
  });

  it('kills all process groups of one that does not listen, the agent too', async () => {
    const deaf = 'trap "" TERM; setsid sleep 30 & sleep 0.2; echo up; while :; do sleep 1; done';
    const host = await startPart('job-2', 'agent-host', deaf);
    const supervisor = await startPart(
      'job-2',
      'supervisor',
      'trap "" TERM; echo up; while :; do sleep 1; done',
    );
    const lines: string[] = [];
    await stopLocalRunners({ runnersDir: folder.path, graceMs: 300, log: (line) => lines.push(line) });
    expect(lines.at(-1)).toBe('killing runner job-2, which did not end within 0.3 s');
    for (const leader of [host, supervisor]) {
      await expect.poll(() => isProcessGroupAlive(leader)).toBe(false);
    }
  });

  it('finds nothing to do in a folder that is not there', async () => {
    const nowhere = join(folder.path, 'nowhere');
    expect(await stopLocalRunners({ runnersDir: nowhere, graceMs: 1_000, log: () => undefined })).toBe(0);
  });
});
