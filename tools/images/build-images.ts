import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { Buildah } from './buildah.js';
import { ensureLocalBase } from './local-base.js';
import { needPrograms } from './needed-programs.js';

const registry = 'https://registry-1.docker.io/v2/';
const registryMs = 5_000;
const tagLength = 12;
/** As long another process may still read the archive that it was given. */
const othersReadMs = 900_000;

export interface BuiltImage {
  /** `api`, `worker` or `runner`. */
  readonly name: string;
  /** Name and tag under which the archive holds it. */
  readonly image: string;
  readonly archive: string;
  readonly bytes: number;
}

/** Builds the images of deploy/images/Dockerfile, and writes archives and the list of them to `.images` of the project. */
export async function buildImages(options: {
  readonly project: string;
  readonly cacheFolder: string;
  readonly names: readonly string[];
}): Promise<BuiltImage[]> {
  const { project, names } = options;
  await needPrograms(['buildah']);
  const cacheFolder = join(options.cacheFolder, 'images');
  const buildah = await Buildah.open(cacheFolder);
  const dockerfile = join(project, 'deploy/images/Dockerfile');
  const mayPull = await isReachable(registry);
  if (!mayPull) {
    process.stderr.write(
      `${registry} cannot be reached: the images get a stand-in for their base, of Debian's packages and this machine's Node. Do not release them\n`,
    );
    await ensureLocalBase(buildah, baseImage(await readFile(dockerfile, 'utf8')), cacheFolder);
  }
  const certificates = childEnvironment().NODE_EXTRA_CA_CERTS;
  const target = join(project, '.images');
  await mkdir(target, { recursive: true });
  const built: BuiltImage[] = [];
  for (const name of names) {
    const id = await buildah.build({
      folder: project,
      dockerfile,
      target: name,
      mayPull,
      ...(certificates === undefined ? {} : { secrets: { certificates } }),
    });
    const tag = hashOf(await buildah.content(id));
    const archive = join(target, `${name}-${tag}.tar`);
    const image = `localhost/agentrun-${name}:${tag}`;
    if (!existsSync(archive)) {
      const unfinished = join(target, `unfinished-${process.pid}.tar`);
      await rm(unfinished, { force: true });
      await buildah.save(id, unfinished, image);
      await rename(unfinished, archive);
    }
    built.push({ name, image, archive, bytes: (await stat(archive)).size });
  }
  await writeList(target, built);
  return built;
}

/** Adds what was built to the list, and deletes older archives. */
async function writeList(folder: string, built: readonly BuiltImage[]): Promise<void> {
  const path = join(folder, 'images.json');
  const earlier: unknown = existsSync(path) ? JSON.parse(await readFile(path, 'utf8')) : {};
  const list = {
    ...(typeof earlier === 'object' ? earlier : {}),
    ...Object.fromEntries(built.map(({ name, ...rest }) => [name, rest])),
  };
  const unfinished = `${path}.${process.pid}`;
  await writeFile(unfinished, `${JSON.stringify(list, undefined, 2)}\n`);
  await rename(unfinished, path);
  const kept = JSON.stringify(list);
  for (const file of await readdir(folder)) {
    if (!file.endsWith('.tar') || kept.includes(file)) continue;
    const found = await stat(join(folder, file)).catch(() => undefined);
    if (found !== undefined && Date.now() - found.mtimeMs > othersReadMs)
      await rm(join(folder, file), { force: true });
  }
}

function hashOf(content: unknown): string {
  return createHash('sha256').update(JSON.stringify(content)).digest('hex').slice(0, tagLength);
}

/** @throws Error when the file names no base. */
function baseImage(dockerfile: string): string {
  const name = /^ARG NODE_IMAGE=(\S+)$/m.exec(dockerfile)?.[1];
  if (name === undefined) throw new Error('deploy/images/Dockerfile has no ARG NODE_IMAGE');
  return name;
}

/** Any answer of a registry will do: what it says is buildah's to read. */
async function isReachable(url: string): Promise<boolean> {
  return await fetch(url, { signal: AbortSignal.timeout(registryMs) }).then(
    () => true,
    () => false,
  );
}
