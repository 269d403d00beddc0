import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { LaunchSpec } from '../../contract/runners.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { takeLaunchFile } from '../../runner/supervisor/launch-file.js';

const run = promisify(execFile);

const spec: LaunchSpec = {
  jobId: 'job_1',
  jobName: 'job',
  runId: 'run_1',
  epoch: 1,
  sessionId: 'ses_1',
  backendProfile: 'codex',
  managerUrl: 'http://127.0.0.1:9',
  managerUrlVariable: 'AGENTRUN_INTERNAL_MGR_URL',
  launchToken: 'a-token',
  agentHostSocket: '/run/agent-host.sock',
  workspaceDirectory: '/session/agent/workspace',
  agentHomeDirectory: '/session/agent/home',
  supervisorDirectory: '/session/supervisor',
  provider: { baseUrl: 'http://127.0.0.1:9', model: 'm', keyFile: '/provider/key' },
  leaseMs: 60_000,
  traceparent: null,
  telemetry: { otlpEndpoint: null },
  measuredDirectory: null,
};

describe('the launch file', () => {
  let directory: string;
  let file: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'agentrun-launch-'));
    file = join(directory, 'launch.json');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  test('is read once: nobody finds the token there afterwards', async () => {
    writeFileSync(file, JSON.stringify(spec));
    expect(await takeLaunchFile(file)).toEqual(spec);
    expect(existsSync(file)).toBe(false);
  });

  test('of another shape: the fields are named, nothing of its content is', async () => {
    writeFileSync(file, JSON.stringify({ ...spec, epoch: 'a-token' }));
    const error = await takeLaunchFile(file).catch((reason: unknown) => reason);
    expect(String(error)).toContain('epoch');
    expect(String(error)).not.toContain('a-token');
  });

  test('on a read-only mount, as a Secret in a pod is, it is read and stays', async () => {
    writeFileSync(file, JSON.stringify(spec));
    const program = join(packageRoot(), 'dist', 'runner', 'supervisor', 'launch-file.js');
    const script = `import(${JSON.stringify(program)}).then(async ({ takeLaunchFile }) =>
      console.log((await takeLaunchFile(${JSON.stringify(file)})).runId))`;
    // A mount that only this process sees.
    const { stdout } = await run('unshare', [
      '--map-root-user',
      '--mount',
      'sh',
      '-c',
      'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" -e "$3"',
      'sh',
      directory,
      process.execPath,
      script,
    ]);
    expect(stdout).toBe('run_1\n');
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(spec);
  });
});
