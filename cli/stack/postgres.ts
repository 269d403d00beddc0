import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { postgresNotice } from './child-output.js';
import { newPassword, storedDatabasePassword, writeSecretFile } from './local-secrets.js';
import { runToEnd } from './one-shot.js';
import { loopback } from './ports.js';
import { findPostgresPlace, type PostgresPlace } from './postgres-place.js';
import { postgresUser, type ServerUser } from './postgres-user.js';
import { readPostmasterFile, releaseDataFolder } from './postmaster-file.js';
import { childLogFile, childPidFile, type StackPaths } from './stack-paths.js';
import type { ChildSpec } from './supervised-child.js';

const role = 'agentrun';
const database = 'agentrun';

/** fsync stays on: a turn that was acknowledged must survive a power cut here too. Statements are kept out of the log,
 * because they can hold what people wrote. */
const settings = [
  'unix_socket_directories=',
  'max_connections=200',
  'shared_buffers=128MB',
  'log_min_error_statement=panic',
  'log_line_prefix=%m [%p] ',
];

/** A data folder that is ready to be served. */
export interface PreparedPostgres {
  readonly place: PostgresPlace;
  readonly user: ServerUser;
  readonly password: string;
}

/**
 * Makes the data folder at the first start (initdb, a random password, the database `agentrun`), and finds it at all
 * later ones. A start that is killed half-way leaves nothing that a later one would take for a data folder.
 */
export async function preparePostgres(
  paths: StackPaths,
  log: (line: string) => void,
  signal?: AbortSignal,
): Promise<PreparedPostgres> {
  const user = postgresUser();
  const place = findPostgresPlace(paths, user, log);
  const stored = storedDatabasePassword(paths);
  const password = stored ?? newPassword();
  await releaseDataFolder(place.dataDir, log);
  if (!existsSync(join(place.dataDir, 'PG_VERSION'))) {
    await createDataFolder({ place, user, password }, paths, signal);
  } else if (stored === undefined) {
    // The secret was deleted, the data was not.
    await runSingleUser(
      { place, user, password },
      place.dataDir,
      `ALTER ROLE ${role} PASSWORD '${password}'`,
    );
  }
  return { place, user, password };
}

/** Writes the database URL, which is the secret that the API and the worker are given as a file. */
export function writeDatabaseUrl(
  paths: StackPaths,
  password: string,
  server: { readonly host: string; readonly port: number },
): void {
  const address = `${server.host}:${server.port}`;
  writeSecretFile(paths.databaseUrlFile, `postgres://${role}:${password}@${address}/${database}`);
}

/** The server as a child of `up`. */
export function postgresChild(
  paths: StackPaths,
  prepared: PreparedPostgres,
  server: { readonly host: string; readonly port: number },
  log: (line: string) => void,
): ChildSpec {
  const { place, user } = prepared;
  const { host, port } = server;
  const served = [...settings, `listen_addresses=${host}`, ...clientsOf(place, host)];
  return {
    name: 'postgres',
    command: {
      file: join(place.binDir, 'postgres'),
      args: ['-D', place.dataDir, '-p', String(port), ...served.flatMap((setting) => ['-c', setting])],
      env: childEnvironment({ LC_ALL: 'C' }),
      cwd: dirname(place.dataDir),
      user,
    },
    pidFile: childPidFile(paths, 'postgres'),
    logFile: childLogFile(paths, 'postgres'),
    ready: async (pid) => {
      const file = readPostmasterFile(place.dataDir);
      return file?.pid === pid && file.status === 'ready';
    },
    // Recovery after a power cut reads the write-ahead log of up to 1 GB.
    readyTimeoutMs: 60_000,
    // SIGINT is Postgres' "fast" stop: clients are cut off, everything is written.
    stopSignal: 'SIGINT',
    stopGraceMs: 2_500,
    notice: postgresNotice,
    beforeStart: async () => await releaseDataFolder(place.dataDir, log),
  };
}

/** On loopback initdb's rules hold. At another address whoever reaches it may come, with the password: the pods of a local cluster. */
function clientsOf({ dataDir }: PostgresPlace, host: string): string[] {
  if (host === loopback) return [];
  const file = join(dataDir, 'agentrun_hba.conf');
  writeFileSync(file, 'host all all all scram-sha-256\n', { mode: 0o644 });
  return [`hba_file=${file}`];
}

async function createDataFolder(
  prepared: PreparedPostgres,
  paths: StackPaths,
  signal?: AbortSignal,
): Promise<void> {
  const { place, user, password } = prepared;
  removeUnfinished(place.dataDir);
  requireAbsentOrEmpty(place.dataDir);
  const unfinished = `${place.dataDir}.new-${randomBytes(4).toString('hex')}`;
  const passwordFile = `${unfinished}.password`;
  try {
    writeFileSync(passwordFile, `${password}\n`, { mode: 0o600, flag: 'wx' });
    if (user !== undefined) chownSync(passwordFile, user.uid, user.gid);
    await initialise(prepared, paths, unfinished, passwordFile, signal);
    await runSingleUser(prepared, unfinished, `CREATE DATABASE ${database}`);
    renameSync(unfinished, place.dataDir);
  } finally {
    rmSync(passwordFile, { force: true });
    rmSync(unfinished, { recursive: true, force: true });
  }
}

async function initialise(
  prepared: PreparedPostgres,
  paths: StackPaths,
  folder: string,
  passwordFile: string,
  signal?: AbortSignal,
): Promise<void> {
  const { place, user } = prepared;
  mkdirSync(folder, { mode: 0o700 });
  if (user !== undefined) chownSync(folder, user.uid, user.gid);
  const args = [
    `--pgdata=${folder}`,
    `--username=${role}`,
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
    // Postgres' own UTF-8 locale sorts the same on every machine and needs nothing installed.
    '--locale-provider=builtin',
    '--builtin-locale=C.UTF-8',
    '--locale=C',
    // Nothing of value is in it yet; a crash right now is healed by making it again.
    '--no-sync',
  ];
  await runToEnd(
    {
      file: join(place.binDir, 'initdb'),
      args,
      env: childEnvironment({ LC_ALL: 'C' }),
      cwd: dirname(folder),
      user,
    },
    { name: 'initdb', logFile: childLogFile(paths, 'postgres'), timeoutMs: 60_000, signal },
  );
}

/** One statement on a data folder that no server has, without a password: over stdin, since arguments are public. */
async function runSingleUser(prepared: PreparedPostgres, folder: string, statement: string): Promise<void> {
  const { place, user } = prepared;
  const child = spawn(
    join(place.binDir, 'postgres'),
    ['--single', '-D', folder, '-c', 'exit_on_error=on', '-c', 'log_min_error_statement=panic', 'postgres'],
    { env: childEnvironment({ LC_ALL: 'C' }), timeout: 60_000, killSignal: 'SIGKILL', ...user },
  );
  child.stdin.on('error', () => undefined);
  child.stdin.end(`${statement}\n`);
  const exit = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [code, errors] = await Promise.all([exit, text(child.stderr), text(child.stdout)]);
  if (code !== 0)
    throw new Error(`Postgres could not prepare its data folder: ${errors.trim().split('\n').at(-1) ?? ''}`);
}

/** Folders that a killed first start left beside the real one. */
function removeUnfinished(dataDir: string): void {
  for (const name of readdirSync(dirname(dataDir))) {
    if (!name.startsWith(`${basename(dataDir)}.new-`)) continue;
    rmSync(join(dirname(dataDir), name), { recursive: true, force: true });
  }
}

/** @throws Error when something that is no data folder lies where ours belongs. */
function requireAbsentOrEmpty(folder: string): void {
  if (!existsSync(folder)) return;
  if (readdirSync(folder).length > 0)
    throw new Error(`${folder} is not empty and no Postgres data folder: move it away`);
  rmdirSync(folder);
}
