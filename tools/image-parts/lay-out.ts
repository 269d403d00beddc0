import { existsSync } from 'node:fs';
import { cp, lutimes, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { ImageParts } from './image-parts.js';
import { packageClosure } from './package-closure.js';

/** Rust's names of the platforms that AgentRun's images are for: glibc, as the base is (dependencies.md). */
const coreBridgeTargets: Readonly<Record<string, string>> = {
  x64: 'x86_64-unknown-linux-gnu',
  arm64: 'aarch64-unknown-linux-gnu',
};
const coreBridge = join('node_modules', '@temporalio', 'core-bridge');
/** What it loads; beside that it brings its sources. */
const coreBridgeLoads = ['package.json', 'index.js', 'common.js', 'lib', 'releases'];
/** What only a compiler, a debugger or a reader of the sources opens. Licences stay. */
const unusedFile = /\.d\.[cm]?ts$|\.map$|\/(?:README|CHANGELOG|HISTORY)[^/]*\.md$/i;

const ownPackageSchema = z.object({
  name: z.string(),
  version: z.string(),
  license: z.string(),
  type: z.string(),
});

/** Copies the packages of an image, with what these need, from `from/node_modules` to `to/node_modules`. */
export async function copyPackages(parts: ImageParts, from: string, to: string): Promise<void> {
  // Packages of types leave no trace in a program.
  const folders = packageClosure(from, parts.packages).filter((folder) => !folder.includes('/@types/'));
  for (const folder of folders) {
    const source = join(from, folder);
    await cp(source, join(to, folder), {
      recursive: true,
      verbatimSymlinks: true,
      // What is nested below is in the closure of its own right, or not needed.
      filter: (path) => path !== join(source, 'node_modules') && !unusedFile.test(path),
    });
  }
  await trimCoreBridge(join(to, coreBridge));
  await forgetTimes(to);
}

/**
 * Copies folders and files of the built project, and a package.json that says whose they are and that they are modules, without scripts and dependencies.
 *
 * @throws Error when a program of the image was not built.
 */
export async function copyPrograms(parts: ImageParts, from: string, to: string): Promise<void> {
  for (const path of parts.files) {
    await mkdir(dirname(join(to, path)), { recursive: true });
    await cp(join(from, path), join(to, path), {
      recursive: true,
      filter: (file) => !unusedFile.test(file),
    });
  }
  const own = ownPackageSchema.parse(JSON.parse(await readFile(join(from, 'package.json'), 'utf8')));
  await writeFile(join(to, 'package.json'), `${JSON.stringify(own, undefined, 2)}\n`);
  await cp(join(from, 'LICENSE'), join(to, 'LICENSE'));
  const missing = parts.programs.filter((program) => !existsSync(join(to, program)));
  if (missing.length > 0) throw new Error(`not built: ${missing.join(', ')}`);
  await forgetTimes(to);
}

/** The same files make the same layer, whenever they were built. */
async function forgetTimes(folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries) await lutimes(join(entry.parentPath, entry.name), 0, 0);
  await lutimes(folder, 0, 0);
}

/** Temporal's native part comes for five platforms, of which an image runs on one (109 of 138 MB), and with 11 MB of sources. */
async function trimCoreBridge(folder: string): Promise<void> {
  if (!existsSync(folder)) return;
  const ours = coreBridgeTargets[process.arch];
  const releases = join(folder, 'releases');
  if (ours === undefined || !existsSync(join(releases, ours)))
    throw new Error(`@temporalio/core-bridge has no build for linux ${process.arch} with glibc`);
  await keepOnly(folder, coreBridgeLoads);
  await keepOnly(releases, [ours]);
}

async function keepOnly(folder: string, names: readonly string[]): Promise<void> {
  for (const name of await readdir(folder))
    if (!names.includes(name)) await rm(join(folder, name), { recursive: true });
}
