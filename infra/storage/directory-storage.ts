import { chmod, lstat, mkdir, readdir, realpath, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { sessionIdSchema } from '../../contract/ids.js';
import { sessionFolders } from '../launchers/local-folders.js';
import { measureDirectory } from './measure-directory.js';
import type { SessionStorage, StorageFacts } from './session-storage.js';

/** A look must be over before the request that asked for it gives up. */
const defaultLimits = { mostFiles: 200_000, longestMs: 2_000 };

/**
 * Sessions as folders below `<data folder>/sessions` (infra/launchers/local-folders.ts). The files are the agent's, which may have put links anywhere
 * among them: none is followed, and nothing outside of the session's own folder is read or removed.
 */
export class DirectoryStorage implements SessionStorage {
  readonly backend = 'directory';
  readonly #dataDir: string;
  readonly #limits: { readonly mostFiles: number; readonly longestMs: number };

  constructor(dataDir: string, limits: { mostFiles: number; longestMs: number } = defaultLimits) {
    this.#dataDir = dataDir;
    this.#limits = limits;
  }

  async ensure(sessionId: string): Promise<void> {
    const { root, agentHome, supervisor } = sessionFolders(this.#dataDir, checked(sessionId));
    await mkdir(dirname(root), { recursive: true, mode: 0o700 });
    await this.#requireOwn(root);
    // The workspace itself is filled by the first turn, which leaves one with content alone.
    for (const folder of [agentHome, supervisor]) await mkdir(folder, { recursive: true, mode: 0o700 });
  }

  async measure(sessionId: string): Promise<StorageFacts> {
    const { root } = sessionFolders(this.#dataDir, checked(sessionId));
    if (!(await this.#requireOwn(root)))
      return { phase: 'Lost', sizeBytes: 0, filesCount: 0, sha256: null, isComplete: true };
    return { phase: 'Bound', ...(await measureDirectory(await realpath(root), this.#limits)) };
  }

  async remove(sessionId: string): Promise<void> {
    const { root } = sessionFolders(this.#dataDir, checked(sessionId));
    if (!(await this.#requireOwn(root))) return;
    try {
      await rm(root, { recursive: true, force: true });
    } catch (error) {
      if (!isDenied(error)) throw error;
      // Folders that were made read-only, as some package caches are: their owner may change that.
      await makeWritable(root);
      await rm(root, { recursive: true, force: true });
    }
  }

  /**
   * Whether the folder is there, as a folder of its own directly below the sessions' folder.
   *
   * @throws Error when it, or a folder above it up to the data folder, is a link or a file.
   */
  async #requireOwn(root: string): Promise<boolean> {
    const sessions = dirname(root);
    if (!(await isDirectory(sessions)) || !(await isDirectory(root))) return false;
    if (
      (await realpath(root)) !==
      join(await realpath(this.#dataDir), 'sessions', root.slice(sessions.length + 1))
    )
      throw new Error(`${root} does not lie in the data folder`);
    return true;
  }
}

/** @throws Error for an id that is no safe path segment. */
function checked(sessionId: string): string {
  if (!sessionIdSchema.safeParse(sessionId).success)
    throw new Error('the storage of a session is named by a session id');
  return sessionId;
}

/** False when nothing is there. @throws Error for a link or a file. */
async function isDirectory(path: string): Promise<boolean> {
  const found = await lstat(path).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (found === undefined) return false;
  if (!found.isDirectory()) throw new Error(`${path} is not a folder of its own: it is left alone`);
  return true;
}

async function makeWritable(folder: string): Promise<void> {
  await chmod(folder, 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await makeWritable(join(folder, entry.name));
  }
}

const isDenied = (error: unknown) => hasCode(error, 'EACCES') || hasCode(error, 'EPERM');

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
