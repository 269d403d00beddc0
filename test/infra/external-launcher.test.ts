import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ExternalLauncher } from '../../infra/launchers/external-launcher.js';
import { runnerFolders } from '../../infra/launchers/local-folders.js';
import { isSameProcessAlive, readProcessIdentity } from '../../infra/processes/process-identity.js';

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'agentrun-external-test-'));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

it('sees and ends a runner that a former setting started on this machine', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1_000)'], {
    detached: true,
    stdio: 'ignore',
  });
  const supervisor = readProcessIdentity(child.pid ?? 0);
  expect(supervisor).toBeDefined();
  const { root, launchedFile } = runnerFolders(dataDir, 'job-1');
  mkdirSync(root, { recursive: true });
  writeFileSync(launchedFile, JSON.stringify({ supervisor }));
  const launcher = new ExternalLauncher(dataDir);
  expect(await launcher.fate('job-1')).toEqual({ state: 'alive' });
  await launcher.stop('job-1', 1_000);
  expect(supervisor !== undefined && isSameProcessAlive(supervisor)).toBe(false);
  expect(await launcher.fate('job-1')).toEqual({ state: 'gone', cause: null });
});

it('knows nothing of a runner that somebody else started', async () => {
  const launcher = new ExternalLauncher(dataDir);
  expect(await launcher.fate('job-1')).toEqual({ state: 'unknown' });
  await launcher.stop('job-1', 1_000);
});
