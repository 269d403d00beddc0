import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, opendir, realpath } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import type { StorageFacts } from './session-storage.js';

interface FoundFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/**
 * Counts the regular files below `root`, a real path, and hashes them. Links, sockets and devices are left out. What disappears meanwhile, or cannot
 * be read, is left out too: an agent may be at work there.
 *
 * At most `mostFiles` files; no new file is begun after `longestMs`. One folder is open at a time. A path that is longer than the kernel takes, or a lack
 * of file descriptors, ends the look as a limit does: with lower bounds.
 */
export async function measureDirectory(
  root: string,
  limits: { readonly mostFiles: number; readonly longestMs: number },
): Promise<Omit<StorageFacts, 'phase'>> {
  const deadline = performance.now() + limits.longestMs;
  const isOver = () => performance.now() > deadline;
  const files: FoundFile[] = [];
  const isComplete = await collect(root, files, () => isOver() || files.length >= limits.mostFiles);
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const sha256 = isComplete ? await contentHash(root, files, isOver) : null;
  return { sizeBytes, filesCount: files.length, sha256, isComplete };
}

/** Adds the regular files below `root`; false when it did not look at all of them. */
async function collect(root: string, files: FoundFile[], mustStop: () => boolean): Promise<boolean> {
  let isComplete = true;
  const folders = [root];
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const inside = await withinLimits(filesIn(root, folder, files, mustStop));
    if (inside === 'stopped') return false;
    if (inside === 'beyond') isComplete = false;
    else folders.push(...inside);
  }
  return isComplete;
}

/** Adds the regular files of one folder; answers the folders in it. */
async function filesIn(
  root: string,
  folder: string,
  files: FoundFile[],
  mustStop: () => boolean,
): Promise<string[] | 'stopped'> {
  // A folder that was exchanged for a link since its parent listed it leads elsewhere.
  if ((await passing(realpath(folder))) !== folder) return [];
  const entries = await passing(opendir(folder));
  if (entries === undefined) return [];
  const folders: string[] = [];
  for await (const entry of entries) {
    if (mustStop()) return 'stopped';
    const path = join(folder, entry.name);
    if (entry.isDirectory()) folders.push(path);
    else if (entry.isFile()) {
      const found = await passing(lstat(path));
      if (found?.isFile() === true)
        files.push({ path: relative(root, path).split(sep).join('/'), sizeBytes: found.size });
    }
  }
  return folders;
}

/**
 * SHA-256 over one line per file, sorted by path (as UTF-8 bytes): the path below the session's folder as a JSON string, a blank, the size in bytes,
 * a blank, the SHA-256 of the content in hexadecimal, a line feed. Null when time was up before the last file.
 */
async function contentHash(
  root: string,
  files: readonly FoundFile[],
  isOver: () => boolean,
): Promise<string | null> {
  const all = createHash('sha256');
  const sorted = files.toSorted((left, right) =>
    Buffer.compare(Buffer.from(left.path), Buffer.from(right.path)),
  );
  for (const file of sorted) {
    const content = await withinLimits(fileHash(join(root, file.path), isOver));
    if (content === 'over' || content === 'beyond') return null;
    if (content !== undefined)
      all.update(`${JSON.stringify(file.path)} ${file.sizeBytes} ${content.digest('hex')}\n`);
  }
  return all.digest('hex');
}

async function fileHash(path: string, isOver: () => boolean): Promise<Hash | 'over' | undefined> {
  // Never through a link, and never waiting for the other end of a pipe, that came in the file's place.
  const file = await passing(open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK));
  if (file === undefined) return undefined;
  try {
    return (await file.stat()).isFile() ? await hashOf(file, isOver) : undefined;
  } finally {
    await file.close();
  }
}

async function hashOf(file: FileHandle, isOver: () => boolean): Promise<Hash | 'over'> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafe(262_144);
  for (;;) {
    if (isOver()) return 'over';
    const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
    if (bytesRead === 0) return hash;
    hash.update(buffer.subarray(0, bytesRead));
  }
}

const passingCodes: readonly unknown[] = ['ENOENT', 'ENOTDIR', 'ELOOP', 'EACCES', 'EPERM', 'ENXIO'];

const limitCodes: readonly unknown[] = ['ENAMETOOLONG', 'EMFILE', 'ENFILE'];

/** `beyond` where the kernel takes no path so long, or gives no more file descriptors. */
async function withinLimits<T>(look: Promise<T>): Promise<T | 'beyond'> {
  try {
    return await look;
  } catch (error) {
    if (error instanceof Error && 'code' in error && limitCodes.includes(error.code)) return 'beyond';
    throw error;
  }
}

/** Undefined where the thing has gone, became something else, or may not be read. */
async function passing<T>(look: Promise<T>): Promise<T | undefined> {
  try {
    return await look;
  } catch (error) {
    if (error instanceof Error && 'code' in error && passingCodes.includes(error.code)) return undefined;
    throw error;
  }
}
