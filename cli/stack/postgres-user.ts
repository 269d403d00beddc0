import { spawnSync } from 'node:child_process';
import { childEnvironment } from '../../infra/config/child-environment.js';

/** Whom the Postgres server runs as; undefined: as ourselves. */
export type ServerUser = { readonly uid: number; readonly gid: number } | undefined;

/**
 * Postgres refuses to run as root, so root starts it as the system user `postgres`, which is made when it is missing.
 *
 * @throws Error with the cure when there is no such user and it cannot be made.
 */
export function postgresUser(): ServerUser {
  if (process.getuid?.() !== 0) return undefined;
  const existing = systemUser();
  if (existing !== undefined) return existing;
  run('useradd', ['--system', '--user-group', '--no-create-home', 'postgres']);
  const made = systemUser();
  if (made !== undefined) return made;
  throw new Error(
    'Postgres does not run as root, and there is no user `postgres` to run it as. Make one (`useradd --system ' +
      '--user-group postgres`) or start agentrun as an ordinary user.',
  );
}

/** Whether this user can pass through a folder, or run a file. */
export function canExecute(user: ServerUser, path: string): boolean {
  return spawnSync('test', ['-x', path], { env: childEnvironment(), timeout: 5_000, ...user }).status === 0;
}

function systemUser(): ServerUser {
  const uid = Number.parseInt(run('id', ['-u', 'postgres']), 10);
  const gid = Number.parseInt(run('id', ['-g', 'postgres']), 10);
  return Number.isInteger(uid) && Number.isInteger(gid) && uid !== 0 ? { uid, gid } : undefined;
}

function run(file: string, args: readonly string[]): string {
  const result = spawnSync(file, args, { env: childEnvironment(), encoding: 'utf8', timeout: 10_000 });
  return result.stdout ?? '';
}
