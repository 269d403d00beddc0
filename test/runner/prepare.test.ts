import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { PrepareSpec } from '../../contract/runners.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { serverPort } from '../support/server-port.js';
import { requirePrograms } from './support/runner-processes.js';

/** The real program, with a real git server. */
describe('prepare', { timeout: 60_000 }, () => {
  const root = mkdtempSync(join(tmpdir(), 'agentrun-prepare-'));
  let gitServer: ChildProcess;
  let gitUrl = '';
  let silent: Server;
  let directory: string;
  let terminationLog: string;

  beforeAll(async () => {
    requirePrograms();
    const origin = join(root, 'served', 'project.git');
    mkdirSync(origin, { recursive: true });
    const git = (...args: string[]) =>
      execFileSync('git', ['-C', origin, '-c', 'user.name=t', '-c', 'user.email=t@localhost', ...args]);
    git('init', '--quiet', '--initial-branch=main');
    writeFileSync(join(origin, 'file'), 'from the repository');
    git('add', '--all');
    git('commit', '--quiet', '--message', 'one');
    silent = createServer();
    const port = await freePort();
    gitUrl = `git://127.0.0.1:${port}`;
    gitServer = spawn(
      'git',
      [
        'daemon',
        '--export-all',
        '--reuseaddr',
        '--listen=127.0.0.1',
        `--port=${port}`,
        `--base-path=${root}/served`,
      ],
      // A group of its own: `git` starts the daemon as its child.
      { stdio: 'ignore', detached: true },
    );
    await vi.waitFor(
      () => execFileSync('git', ['ls-remote', `${gitUrl}/project.git`], { stdio: 'ignore' }),
      10_000,
    );
  });
  afterAll(() => {
    if (gitServer.pid !== undefined) process.kill(-gitServer.pid, 'SIGKILL');
    silent.close();
    rmSync(root, { recursive: true, force: true });
  });

  beforeEach(() => {
    directory = mkdtempSync(join(root, 'agent-'));
    terminationLog = join(directory, '..', `${directory.slice(-6)}.log`);
    writeFileSync(terminationLog, '');
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  function start(spec: Partial<PrepareSpec>, env: Record<string, string> = {}): ChildProcess {
    const file = `${terminationLog}.json`;
    const whole: PrepareSpec = { sessionId: 'ses', workspace: null, defaultRepository: null, ...spec };
    writeFileSync(file, JSON.stringify(whole));
    return spawn(process.execPath, [join(packageRoot(), 'dist', 'runner', 'prepare', 'main.js')], {
      stdio: 'ignore',
      env: {
        PATH: process.env.PATH ?? '',
        HOME: root,
        AGENTRUN_PREPARE_FILE: file,
        AGENTRUN_AGENT_DIR: directory,
        AGENTRUN_EXIT_REASON_FILE: terminationLog,
        ...env,
      },
    });
  }
  const ended = (child: ChildProcess) =>
    new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const run = (spec: Partial<PrepareSpec>, env?: Record<string, string>) => ended(start(spec, env));
  const reason = () => readFileSync(terminationLog, 'utf8');
  const inWorkspace = (name: string) => join(directory, 'workspace', name);

  test('nothing named: a repository with one commit, and a home', async () => {
    expect(await run({})).toBe(0);
    expect(
      execFileSync('git', ['-C', join(directory, 'workspace'), 'rev-list', '--count', 'HEAD'], {
        encoding: 'utf8',
      }),
    ).toBe('1\n');
    expect(existsSync(join(directory, 'home'))).toBe(true);
    expect(reason()).toBe('');
  });

  test('a repository is cloned; the default one where the turn names none', async () => {
    expect(await run({ workspace: { repository: `${gitUrl}/project.git`, ref: 'main' } })).toBe(0);
    expect(readFileSync(inWorkspace('file'), 'utf8')).toBe('from the repository');
    rmSync(join(directory, 'workspace'), { recursive: true });
    expect(await run({ defaultRepository: `${gitUrl}/project.git` })).toBe(0);
    expect(readFileSync(inWorkspace('file'), 'utf8')).toBe('from the repository');
  });

  test('what a former turn left stays, whatever the turn names; a half-made clone does not', async () => {
    mkdirSync(join(directory, 'workspace.unfinished'));
    writeFileSync(join(directory, 'workspace.unfinished', 'half'), '');
    const workspace = { repository: `${gitUrl}/project.git` };
    expect(await run({ workspace })).toBe(0);
    expect(readdirSync(directory).toSorted()).toEqual(['home', 'workspace']);
    writeFileSync(inWorkspace('file'), 'changed by the agent');
    expect(await run({ workspace: { repository: `${gitUrl}/other.git` } })).toBe(0);
    expect(readFileSync(inWorkspace('file'), 'utf8')).toBe('changed by the agent');
  });

  test.each<[string, () => Partial<PrepareSpec>, RegExp]>([
    [
      'a folder',
      () => ({ workspace: { path: '/etc' } }),
      /^workspace\.path: \/etc is a folder of one machine/,
    ],
    [
      'a repository in a folder',
      () => ({ workspace: { repository: `file://${root}/served/project.git` } }),
      /^workspace\.repository: .* is a folder of one machine, and this runner is a pod/,
    ],
    [
      'a repository that is not there',
      () => ({ workspace: { repository: `${gitUrl}/other.git` } }),
      /^workspace\.repository: the clone failed: .*other\.git/s,
    ],
    [
      'a ref that is not there',
      () => ({ workspace: { repository: `${gitUrl}/project.git`, ref: 'no-such-branch' } }),
      /no-such-branch/,
    ],
  ])(
    '%s is a prerequisite that no attempt gets: exit code 2, the reason, and no empty workspace',
    async (_name, spec, words) => {
      expect(await run(spec())).toBe(2);
      expect(reason()).toMatch(words);
      expect(readdirSync(join(directory, 'workspace'))).toEqual([]);
    },
  );

  test('a server that is away may be back at the next attempt: exit code 1', async () => {
    const repository = `git://127.0.0.1:${await freePort()}/project.git`;
    expect(await run({ workspace: { repository } })).toBe(1);
    expect(reason()).toMatch(/^workspace\.repository: the clone failed: .*[Cc]onnection refused/s);
  });

  test('a server that never answers: exit code 1 when the time is up, and at once when the pod is ended', async () => {
    const repository = `git://127.0.0.1:${await serverPort(silent)}/project.git`;
    const startedAt = performance.now();
    expect(await run({ workspace: { repository } }, { AGENTRUN_PREPARE_TIMEOUT_MS: '1500' })).toBe(1);
    expect(performance.now() - startedAt).toBeLessThan(8_000);
    expect(reason()).toBe('Error: the workspace was not filled within 1500 ms');
    const asked = new Promise((resolve) => silent.once('connection', resolve));
    const child = start({ workspace: { repository } });
    const exit = ended(child);
    await asked;
    child.kill('SIGTERM');
    expect(await exit).toBe(1);
    expect(reason()).toBe('Error: prepare was stopped by SIGTERM');
  });

  test('a file that does not fit is said by its fields', async () => {
    const file = join(directory, 'wrong.json');
    writeFileSync(file, '{"sessionId":"ses","workspace":null}');
    expect(await run({}, { AGENTRUN_PREPARE_FILE: file })).toBe(1);
    expect(reason()).toContain('defaultRepository');
    expect(await run({}, { AGENTRUN_PREPARE_FILE: '' })).toBe(2);
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await serverPort(server);
  await new Promise<void>((resolve) => server.close(() => resolve()));
  return port;
}
