import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { run } from './commands.js';

/** What keeps a pod's namespaces open, and a small image with a shell for tests of the cluster itself. */
export const pauseImage = 'agentrun.test/busybox:1';

/** Writes the image as an archive that containerd imports: one layer with the static busybox of this machine. */
export async function writePauseImage(archive: string, folder: string): Promise<void> {
  const work = mkdtempSync(join(folder, 'pause-image-'));
  const root = join(work, 'root');
  mkdirSync(join(root, 'bin'), { recursive: true });
  mkdirSync(join(root, 'tmp'));
  // Not given to mkdir, which takes the umask off.
  chmodSync(join(root, 'tmp'), 0o1777);
  copyFileSync('/bin/busybox', join(root, 'bin/busybox'));
  await run(join(root, 'bin/busybox'), ['--install', join(root, 'bin')]);
  await run('tar', ['-C', root, '--owner=0', '--group=0', '-cf', join(work, 'layer.tar'), '.']);
  const layerHash = createHash('sha256')
    .update(readFileSync(join(work, 'layer.tar')))
    .digest('hex');
  writeFileSync(
    join(work, 'config.json'),
    JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Cmd: ['/bin/sleep', '2147483647'], Env: ['PATH=/bin'] },
      rootfs: { type: 'layers', diff_ids: [`sha256:${layerHash}`] },
    }),
  );
  writeFileSync(
    join(work, 'manifest.json'),
    JSON.stringify([{ Config: 'config.json', RepoTags: [pauseImage], Layers: ['layer.tar'] }]),
  );
  await run('tar', ['-C', work, '-cf', archive, 'manifest.json', 'config.json', 'layer.tar']);
  rmSync(work, { recursive: true });
}
