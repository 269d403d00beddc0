import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { choosePort, quietPort } from '../stack/ports.js';

const readyMs = 10_000;
const gitLimitMs = 30_000;
const author = [
  '-c',
  'user.name=AgentRun',
  '-c',
  'user.email=agentrun@localhost',
  '-c',
  'commit.gpgsign=false',
];

/** A repository that pods can clone, for as long as nobody has stopped it. */
export interface ServedRepository {
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Serves a copy of a folder as a repository with one commit, read-only and without a password, at an address of this machine.
 *
 * @throws Error when git is missing, or its server does not start.
 */
export async function serveRepository(folder: string, host: string): Promise<ServedRepository> {
  const root = mkdtempSync(join(tmpdir(), 'agentrun-repository-'));
  const work = join(root, 'sample');
  cpSync(folder, work, { recursive: true });
  const git = (...args: string[]) => runGit(['-C', work, ...author, ...args]);
  await git('init', '--quiet', '--initial-branch=main');
  await git('add', '--all');
  await git('commit', '--quiet', '--no-verify', '--message', 'The sample repository');
  const port = await choosePort([0], () => quietPort());
  const args = [
    '--reuseaddr',
    '--export-all',
    `--listen=${host}`,
    `--port=${port}`,
    `--base-path=${root}`,
    root,
  ];
  const child = spawn('git', ['daemon', ...args], {
    // It is asked by the address of pods, and the folder belongs to whoever runs this.
    env: childEnvironment({
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
    }),
    stdio: 'ignore',
    // git starts the server as a child: both are ended together.
    detached: true,
  });
  const ended = once(child, 'exit').catch(() => undefined);
  const stop = async () => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      process.kill(-child.pid, 'SIGTERM');
      await ended;
    }
    rmSync(root, { recursive: true, force: true });
  };
  const deadline = Date.now() + readyMs;
  while (!(await isListening(host, port))) {
    if (child.exitCode === null && Date.now() < deadline) {
      await sleep(50);
      continue;
    }
    await stop();
    throw new Error(`git daemon does not serve at ${host}:${port}`);
  }
  return { url: `git://${host}:${port}/sample`, stop };
}

async function runGit(args: readonly string[]): Promise<void> {
  const child = spawn('git', args, { env: childEnvironment(), stdio: 'ignore', timeout: gitLimitMs });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  if (code !== 0) throw new Error(`git ${args.at(-1)} ended with ${code}`);
}

async function isListening(host: string, port: number): Promise<boolean> {
  const socket = connect({ host, port });
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
