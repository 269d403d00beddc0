import { randomUUID } from 'node:crypto';
import { chmod, lstat, mkdir, realpath, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { runIdSchema, sessionIdSchema } from '../../contract/ids.js';
import { sessionFolders } from '../launchers/local-folders.js';
import { OpenFolder } from '../spill/open-folder.js';
import { spilledBatches, spillsIn } from '../spill/spill-files.js';
import { measureDirectory } from './measure-directory.js';
import { removeTree } from './remove-tree.js';
import type {
  MadePhase,
  SessionStorage,
  SpilledEvents,
  SpillingAttempt,
  StorageFacts,
} from './session-storage.js';

/** A look must be over before the request that asked for it gives up. */
const defaultLimits = { mostFiles: 200_000, longestMs: 2_000 };
/** Of one removal; below the 30 min that its activity has. */
const longestRemovalMs = 1_500_000;

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

  async ensure(sessionId: string): Promise<MadePhase> {
    const { root, agentHome, supervisor } = sessionFolders(this.#dataDir, checked(sessionId));
    await mkdir(dirname(root), { recursive: true, mode: 0o700 });
    await this.#requireOwn(root);
    // The workspace itself is filled by the first turn, which leaves one with content alone.
    for (const folder of [agentHome, supervisor]) await mkdir(folder, { recursive: true, mode: 0o700 });
    return 'Bound';
  }

  async measure(sessionId: string): Promise<StorageFacts> {
    const { root } = sessionFolders(this.#dataDir, checked(sessionId));
    if (!(await this.#requireOwn(root)))
      return { phase: 'Lost', sizeBytes: 0, filesCount: 0, sha256: null, isComplete: true };
    return { phase: 'Bound', ...(await measureDirectory(await realpath(root), this.#limits)) };
  }

  async exists(sessionId: string): Promise<boolean> {
    return this.#requireOwn(sessionFolders(this.#dataDir, checked(sessionId)).root);
  }

  /** Whose the files are cannot be told, so nothing with content is touched. */
  async removeEmpty(sessionId: string): Promise<boolean> {
    const { root, agentHome, supervisor } = sessionFolders(this.#dataDir, checked(sessionId));
    if (!(await this.#requireOwn(root))) return true;
    for (const folder of [agentHome, dirname(agentHome), supervisor, root]) {
      await rmdir(folder).catch((error: unknown) => {
        if (!hasCode(error, 'ENOENT') && !hasCode(error, 'ENOTEMPTY')) throw error;
      });
    }
    return !(await this.#requireOwn(root));
  }

  async discard(sessionId: string, generation: string): Promise<void> {
    const { root } = sessionFolders(this.#dataDir, checked(sessionId));
    if (!(await this.#requireOwn(root))) return;
    const discarded = await this.#discarded(sessionId, generation);
    await mkdir(discarded, { recursive: true, mode: 0o700 });
    // The kernel asks for the right to write to a folder that changes its parent; its agent may have taken that away.
    await chmod(root, 0o700);
    // Under a name of its own each time: a launch that stood still may have made the folder again since it was discarded first.
    await rename(root, join(discarded, randomUUID()));
  }

  async removeDiscarded(sessionId: string, generation: string, signal?: AbortSignal): Promise<void> {
    await removeTree(await this.#discarded(sessionId, generation), { longestMs: longestRemovalMs, signal });
  }

  async withSpill(
    sessionId: string,
    { runId, epoch }: SpillingAttempt,
    use: (spill: SpilledEvents) => Promise<void>,
  ): Promise<void> {
    const { root, supervisor } = sessionFolders(this.#dataDir, checked(sessionId));
    if (!runIdSchema.safeParse(runId).success) throw new Error('the folder of a run is named by a run id');
    if (!(await this.#requireOwn(root))) return;
    // All of it may be swapped at any time: each folder is held while its content is looked up.
    const folder = await OpenFolder.openBelow(root, basename(supervisor), 'runs', runId);
    if (folder === undefined) return;
    try {
      const paths = (await spillsIn(folder.path)).get(epoch);
      if (paths === undefined) return;
      await use({
        batches: (reading) => spilledBatches(paths, reading),
        remove: async () => {
          for (const path of paths) await rm(path, { force: true });
        },
      });
    } finally {
      await folder.close();
    }
  }

  /** Beside the sessions, so that a folder can be moved there at once; no session id begins with a dot. */
  async #discarded(sessionId: string, generation: string): Promise<string> {
    const trash = join(dirname(sessionFolders(this.#dataDir, checked(sessionId)).root), '.trash');
    await this.#requireOwn(trash);
    if (!/^[0-9A-Za-z]{1,40}$/.test(generation)) throw new Error('a generation is letters and digits');
    const folder = join(trash, `${sessionId}-${generation}`);
    await isDirectory(folder);
    return folder;
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

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
