import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/** Opens what stands at this very path: a link is not followed, and a pipe that somebody put there is not waited for. */
export const ownFile = constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Opens only a file of this very path, for reading ({@link ownFile}).
 *
 * @throws Error when there is none, it is no regular file, or it has more than `maxBytes`.
 */
export async function openRegular(path: string, maxBytes: number): Promise<FileHandle> {
  const file = await open(path, constants.O_RDONLY | ownFile);
  try {
    const found = await file.stat();
    if (!found.isFile()) throw new Error('it is no regular file');
    if (found.size > maxBytes) throw new Error(`${found.size} bytes are more than ${maxBytes}`);
    return file;
  } catch (error) {
    await file.close();
    throw error;
  }
}
