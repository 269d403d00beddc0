import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, realpath, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Buildah } from './buildah.js';
import { needPrograms } from './needed-programs.js';
import { runCommand } from './run-command.js';

const suite = 'bookworm';
const mirror = 'http://deb.debian.org';
const debootstrapMs = 600_000;
const packMs = 120_000;

const packageSources = `deb ${mirror}/debian ${suite} main
deb ${mirror}/debian ${suite}-updates main
deb ${mirror}/debian-security ${suite}-security main
`;

const dockerfile = `FROM scratch
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["node"]
`;

/**
 * Makes a stand-in for Node's public image, under its name, where no registry can be reached: Debian from a package mirror, with the Node and npm of this
 * machine where the public image has them. Made once per version of Node; the cache keeps it.
 *
 * @throws Error when this machine has another major version of Node, or no root rights.
 */
export async function ensureLocalBase(buildah: Buildah, image: string, cacheFolder: string): Promise<void> {
  if (await buildah.has(image)) return;
  const wanted = /node:(\d+)\./.exec(image)?.[1];
  if (wanted !== undefined && wanted !== process.version.slice(1).split('.')[0])
    throw new Error(
      `no registry can be reached, and a stand-in for ${image} needs Node ${wanted}; this is ${process.version}`,
    );
  const root = join(cacheFolder, `base-${suite}-node-${process.version}-${process.arch}.tar`);
  if (!existsSync(root)) await makeRoot(root);
  const folder = await mkdtemp(join(tmpdir(), 'agentrun-base-'));
  try {
    await writeFile(join(folder, 'Dockerfile'), dockerfile);
    await cp(root, join(folder, 'root.tar'));
    await buildah.build({ folder, dockerfile: join(folder, 'Dockerfile'), image, mayPull: false });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function makeRoot(archive: string): Promise<void> {
  if (process.getuid?.() !== 0) throw new Error('a base image can be made here by root only (debootstrap)');
  await needPrograms(['debootstrap', 'tar']);
  const folder = await mkdtemp(join(tmpdir(), 'agentrun-root-'));
  try {
    await runCommand(
      'debootstrap',
      ['--variant=minbase', '--include=ca-certificates,libstdc++6', suite, folder, `${mirror}/debian`],
      debootstrapMs,
      { isShown: true },
    );
    for (const name of ['doc', 'info', 'locale', 'man'])
      await rm(join(folder, 'usr/share', name), { recursive: true });
    await writeFile(join(folder, 'etc/apt/sources.list'), packageSources);
    await copyNode(join(folder, 'usr/local'));
    await runCommand(
      'tar',
      [
        '--create',
        '--one-file-system',
        '--exclude=./dev/*',
        '--exclude=./proc/*',
        '--exclude=./sys/*',
        '--exclude=./var/cache/apt/archives/*.deb',
        '--exclude=./var/lib/apt/lists/*',
        '--exclude=./var/log/*',
        `--file=${archive}.unfinished`,
        `--directory=${folder}`,
        '.',
      ],
      packMs,
    );
    await rename(`${archive}.unfinished`, archive);
  } finally {
    // Not Node's own: were debootstrap broken off, this machine's /proc would still be mounted there.
    await runCommand('rm', ['-rf', '--one-file-system', '--', folder], packMs);
  }
}

/** Laid out as in the public image. */
async function copyNode(to: string): Promise<void> {
  const npmProgram = await realpath((await runCommand('sh', ['-c', 'command -v npm'], 5_000)).trim());
  await mkdir(join(to, 'lib/node_modules'), { recursive: true });
  await cp(process.execPath, join(to, 'bin/node'));
  await cp(dirname(dirname(npmProgram)), join(to, 'lib/node_modules/npm'), { recursive: true });
  for (const name of ['npm', 'npx'])
    await symlink(`../lib/node_modules/npm/bin/${name}-cli.js`, join(to, 'bin', name));
}
