import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findRunningStack } from '../../cli/stack/stack-file.js';
import { childPidFile, type StackPaths, stackPaths } from '../../cli/stack/stack-paths.js';
import { type Stack, StackAlreadyRunningError, startStack } from '../../cli/stack/start-stack.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { readPidFile, writePidFile } from '../../infra/processes/pid-file.js';
import { killProcessGroup } from '../../infra/processes/process-group.js';
import {
  isSameProcessAlive,
  type ProcessIdentity,
  readProcessIdentity,
} from '../../infra/processes/process-identity.js';
import { makeDataFolder } from '../support/data-folder.js';

// Real Postgres and Temporal servers, one after another in one data folder; each test goes on where the last one ended.

const folder = makeDataFolder();
const paths: StackPaths = stackPaths(folder.path);
const lines: string[] = [];
let stack: Stack | undefined;
let runner: ProcessIdentity | undefined;

beforeAll(async () => {
  stack = await start();
});

afterAll(async () => {
  await stack?.stop();
  if (runner !== undefined) killProcessGroup(runner, 'SIGKILL');
  folder.remove();
});

async function start(): Promise<Stack> {
  lines.length = 0;
  return await startStack({ dataDir: folder.path, parts: [], ports: 'any', log: (line) => lines.push(line) });
}

async function query(sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: readFileSync(paths.databaseUrlFile, 'utf8').trim() });
  await client.connect();
  try {
    const result = await client.query({ text: sql, rowMode: 'array' });
    const rows: unknown[][] = result.rows;
    return rows.flat();
  } finally {
    await client.end();
  }
}

function child(name: 'postgres' | 'temporal'): ProcessIdentity {
  const identity = readPidFile(childPidFile(paths, name));
  if (identity === undefined) throw new Error(`${name} has no pid file`);
  return identity;
}

/** A process that looks like a local runner, which `up` must leave alone. */
async function startRunner(): Promise<ProcessIdentity> {
  const process_ = spawn('sleep', ['300'], { detached: true, stdio: 'ignore' });
  await once(process_, 'spawn');
  const identity = readProcessIdentity(process_.pid ?? 0);
  if (identity === undefined) throw new Error('no runner');
  mkdirSync(join(paths.runnersDir, 'job-1'), { recursive: true });
  writePidFile(join(paths.runnersDir, 'job-1', 'supervisor.json'), identity);
  return identity;
}

describe('the local stack', () => {
  it('serves Postgres with fsync on, and keeps its secrets to itself', async () => {
    expect(await query('show fsync')).toEqual(['on']);
    expect(await query("select current_setting('max_connections')")).toEqual(['200']);
    await query('create table kept (n int)');
    await query('insert into kept values (42)');
    for (const file of [
      paths.databaseUrlFile,
      paths.apiTokenFile,
      paths.runnerKeysFile,
      paths.webhookKeyFile,
      paths.providerKeyFile,
    ]) {
      expect(statSync(file).mode & 0o777).toBe(0o600);
    }
    const token = readFileSync(paths.apiTokenFile, 'utf8').trim();
    expect(token).toMatch(/^agr_[\w-]{43}$/);
    expect(readFileSync(paths.stackFile, 'utf8')).not.toContain(token);
  });

  it('refuses a second owner and says who the first one is', async () => {
    await expect(start()).rejects.toThrow(StackAlreadyRunningError);
    expect(findRunningStack(folder.path)?.pid).toBe(process.pid);
  });

  it('starts a child again that dies, with a line that says how', async () => {
    killProcessGroup(child('temporal'), 'SIGKILL');
    await expect.poll(() => lines, { timeout: 20_000 }).toContain('temporal serves again');
    expect(lines).toContain('temporal died (signal SIGKILL); restart 1 in 1 s');
  });

  it('finds data, ports and token again at the second start, but for a port that is taken', async () => {
    const before = stack;
    if (before === undefined) throw new Error('it did not start');
    await before.stop();
    expect(findRunningStack(folder.path)).toBeUndefined();
    const intruder = createServer().listen(before.ports.temporalUi, '127.0.0.1');
    await once(intruder, 'listening');
    try {
      stack = await start();
    } finally {
      intruder.close();
    }
    expect(stack.ports.postgres).toBe(before.ports.postgres);
    expect(stack.ports.api).toBe(before.ports.api);
    expect(stack.ports.temporalUi).not.toBe(before.ports.temporalUi);
    expect(lines.join('\n')).toContain(`port ${before.ports.temporalUi} (temporalUi) is taken`);
    expect(await query('select n from kept')).toEqual([42]);
  });

  it('stops what a killed start left behind, and leaves living runners alone', async () => {
    await stack?.stop();
    stack = undefined;
    runner = await startRunner();
    const program = join(packageRoot(), 'test', 'support', 'stack-program.ts');
    const owner = spawn(process.execPath, ['--import', 'tsx', program, folder.path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(owner.stdout, 'data');
    const left = [child('postgres'), child('temporal')];
    owner.kill('SIGKILL');
    await once(owner, 'exit');
    expect(left.map(isSameProcessAlive)).toEqual([true, true]);

    stack = await start();
    expect(left.map(isSameProcessAlive)).toEqual([false, false]);
    expect(lines.filter((line) => line.includes('left behind'))).toHaveLength(2);
    expect(lines).toContain('runners that live on from before, for the worker to adopt: job-1');
    expect(await query('select n from kept')).toEqual([42]);
    await stack.stop();
    expect(isSameProcessAlive(runner)).toBe(true);
  });
});
