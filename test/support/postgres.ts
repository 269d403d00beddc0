import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { anyPort, choosePort } from '../../cli/stack/ports.js';
import { preparePostgres } from '../../cli/stack/postgres.js';
import { createStackFolders, stackPaths } from '../../cli/stack/stack-paths.js';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { migrate, migrationsDirectory } from '../../store/migrate.js';
import { createPool, type Pool } from '../../store/pool.js';
import { makeDataFolder } from './data-folder.js';

/** One database of a test, migrated and empty. */
export interface TestDatabase {
  readonly url: string;
  readonly pool: Pool;
}

/** A real Postgres server for one test file. Stop it in `afterAll`. */
export interface TestPostgres {
  /** Of the postmaster, whose children are the backends. */
  readonly pid: number;
  /** A copy of the migrated template. */
  newDatabase(): Promise<TestDatabase>;
  /** An empty database that was never migrated. */
  newEmptyDatabase(): Promise<string>;
  stop(): Promise<void>;
}

const quick = ['fsync=off', 'synchronous_commit=off', 'full_page_writes=off'];
const template = 'agentrun';

export const quietLog = { info: () => undefined, warn: () => undefined, error: () => undefined };

/**
 * Starts a server on a free port with a data folder of its own; about a second.
 *
 * @param options.durable with what makes a commit outlive the machine, as benches need it; tests go without.
 */
export async function startPostgres(options: { readonly durable?: boolean } = {}): Promise<TestPostgres> {
  const folder = makeDataFolder();
  const paths = stackPaths(folder.path);
  createStackFolders(paths);
  const { place, user, password } = await preparePostgres(paths, () => undefined);
  const port = await choosePort([anyPort]);
  const settings = [
    'listen_addresses=127.0.0.1',
    'unix_socket_directories=',
    'max_connections=200',
    ...(options.durable === true ? [] : quick),
  ];
  const server = spawn(
    join(place.binDir, 'postgres'),
    ['-D', place.dataDir, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])],
    { env: childEnvironment({ LC_ALL: 'C' }), stdio: 'ignore', ...user },
  );
  const urlOf = (database: string) => `postgres://agentrun:${password}@127.0.0.1:${port}/${database}`;
  await untilReady(urlOf('postgres'), server);
  await migrate({
    databaseUrl: urlOf(template),
    directory: migrationsDirectory(packageRoot()),
    log: quietLog,
    nowMs: Date.now(),
  });

  const pools: Pool[] = [];
  const create = async (suffix: string): Promise<string> => {
    const name = `test_${randomBytes(6).toString('hex')}`;
    await statement(urlOf('postgres'), `create database ${name} ${suffix}`);
    return urlOf(name);
  };
  return {
    pid: server.pid ?? 0,
    newEmptyDatabase: () => create(''),
    newDatabase: async () => {
      const url = await create(`template ${template}`);
      const pool = createPool({ connectionString: url, applicationName: 'test', onError: () => undefined });
      pools.push(pool);
      return { url, pool };
    },
    stop: async () => {
      await Promise.all(pools.map((pool) => pool.end()));
      server.kill('SIGINT');
      if (server.exitCode === null) await once(server, 'exit');
      folder.remove();
    },
  };
}

async function untilReady(url: string, server: ChildProcess): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    if (server.exitCode !== null) throw new Error(`Postgres ended with code ${server.exitCode}`);
    try {
      await statement(url, 'select 1');
      return;
    } catch (error) {
      if (attempt === 200) throw error;
      await sleep(50);
    }
  }
}

async function statement(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
