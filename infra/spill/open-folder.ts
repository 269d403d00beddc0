import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';

const folderFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * A folder that was opened: what is looked up below its {@link path} is looked up in that very folder, whatever somebody puts in its place meanwhile.
 * Only Linux has such paths; elsewhere it is the one that it was opened by.
 */
export class OpenFolder {
  readonly path: string;
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.path = process.platform === 'linux' ? `/proc/self/fd/${handle.fd}` : path;
  }

  /** Undefined when nothing is there. @throws Error for a link or a file. */
  static async open(path: string): Promise<OpenFolder | undefined> {
    try {
      return new OpenFolder(await open(path, folderFlags), path);
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** A folder some levels below: none of them may be a link. */
  static async openBelow(root: string, ...names: readonly string[]): Promise<OpenFolder | undefined> {
    let folder = await OpenFolder.open(root);
    for (const name of names) {
      const parent = folder;
      if (parent === undefined) return undefined;
      try {
        folder = await OpenFolder.open(join(parent.path, name));
      } finally {
        await parent.close();
      }
    }
    return folder;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}
