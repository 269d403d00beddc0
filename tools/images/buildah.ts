import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { runCommand } from './run-command.js';

const shortMs = 60_000;
const buildMs = 1_200_000;
const emptyMs = 300_000;

/** Layers that are kept, as images without a name: a build from nothing makes about 40, a change of the sources about 10. A copy is up to 2 GB. */
const mostImages = { overlay: 150, vfs: 60 };

const imageId = /^[0-9a-f]{64}$/;

const inspectedSchema = z.object({
  Docker: z.object({ config: z.unknown(), rootfs: z.object({ diff_ids: z.array(z.string()) }) }),
});

export interface Build {
  readonly folder: string;
  readonly dockerfile: string;
  /** Name that the image gets; without one it is known by its id only. */
  readonly image?: string;
  readonly target?: string;
  /** Names of secrets and the files that hold them. */
  readonly secrets?: Readonly<Record<string, string>>;
  /** Whether a base that is not here may be asked of its registry. */
  readonly mayPull: boolean;
}

/** buildah without an engine and without user namespaces (toolbox.md), with a storage of our own that keeps the layers for the next build. */
export class Buildah {
  readonly #storage: readonly string[];

  private constructor(storage: readonly string[]) {
    this.#storage = storage;
  }

  /** Layers as overlays where the kernel and the folder's file system can, which saves a copy of everything per layer; else as whole copies (vfs). */
  static async open(cacheFolder: string): Promise<Buildah> {
    await mkdir(cacheFolder, { recursive: true });
    const storage = (driver: string) => [
      '--storage-driver',
      driver,
      '--root',
      join(cacheFolder, driver),
      '--runroot',
      join(cacheFolder, `${driver}-run`),
    ];
    const overlay = new Buildah(storage('overlay'));
    const works = await overlay.#run(['info'], shortMs).then(
      () => true,
      () => false,
    );
    const opened = works ? overlay : new Buildah(storage('vfs'));
    await opened.#emptyWhenFull(works ? mostImages.overlay : mostImages.vfs);
    return opened;
  }

  /** buildah cannot tell old layers from those that the next build takes up again, so all go; a base made here comes back from its archive. */
  async #emptyWhenFull(most: number): Promise<void> {
    const kept = (await this.#run(['images', '--all', '--quiet'], shortMs)).split('\n').length - 1;
    if (kept > most) await this.#run(['rmi', '--all', '--force'], emptyMs);
  }

  /** Answers the image's id. */
  async build({ folder, dockerfile, image, target, secrets = {}, mayPull }: Build): Promise<string> {
    const said = await this.#run(
      [
        'bud',
        '--isolation=chroot',
        '--layers',
        // Also of a build that failed: what it worked in is mounted.
        '--force-rm',
        mayPull ? '--pull' : '--pull-never',
        ...(target === undefined ? [] : ['--target', target]),
        ...Object.entries(secrets).map(([id, file]) => `--secret=id=${id},src=${file}`),
        '--file',
        dockerfile,
        ...(image === undefined ? [] : ['--tag', image]),
        folder,
      ],
      buildMs,
      { isShown: true },
    );
    const id = said.trimEnd().split('\n').pop() ?? '';
    if (!imageId.test(id)) throw new Error(`buildah named no image: ${id}`);
    return id;
  }

  async has(image: string): Promise<boolean> {
    return (await this.#run(['images', '--quiet', '--filter', `reference=${image}`], shortMs)).trim() !== '';
  }

  /** What an image is made of: the digests of its layers, uncompressed, and its settings. */
  async content(image: string): Promise<{ readonly layers: readonly string[]; readonly config: unknown }> {
    const inspected = await this.#run(['inspect', '--type', 'image', image], shortMs);
    const { Docker } = inspectedSchema.parse(JSON.parse(inspected));
    return { layers: Docker.rootfs.diff_ids, config: Docker.config };
  }

  /** Writes an image under a name into an archive that Docker, containerd and Podman load. */
  async save(image: string, archive: string, name: string): Promise<void> {
    await this.#run(['push', '--quiet', image, `docker-archive:${archive}:${name}`], buildMs);
  }

  async #run(args: readonly string[], longestMs: number, options = {}): Promise<string> {
    return await runCommand('buildah', [...this.#storage, ...args], longestMs, options);
  }
}
