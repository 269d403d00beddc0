import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { z } from 'zod';

const run = promisify(execFile);
const mostOutputBytes = 200_000_000;

const manifestSchema = z.tuple([
  z.object({ Config: z.string(), RepoTags: z.array(z.string()), Layers: z.array(z.string()) }),
]);
const configSchema = z.object({
  architecture: z.string(),
  config: z.object({
    User: z.string().optional(),
    Env: z.array(z.string()).default([]),
    Entrypoint: z.array(z.string()).default([]),
    Cmd: z.array(z.string()).default([]),
  }),
});

export interface ImageFile {
  /** As `ls` shows it, `-rwxr-xr-x` for example. */
  readonly mode: string;
  /** Numbers of user and group. */
  readonly owner: string;
  readonly bytes: number;
}

export interface ImageArchive {
  readonly names: readonly string[];
  readonly config: z.infer<typeof configSchema>['config'];
  /** All that a container of the image sees, by path from `/`, folders included. */
  readonly files: ReadonlyMap<string, ImageFile>;
}

/** Reads an archive as `docker save` writes it: what its layers make together. */
export async function readImageArchive(archive: string): Promise<ImageArchive> {
  const [manifest] = manifestSchema.parse(JSON.parse(await entryOf(archive, 'manifest.json')));
  const { config } = configSchema.parse(JSON.parse(await entryOf(archive, manifest.Config)));
  const files = new Map<string, ImageFile>();
  for (const layer of manifest.Layers) applyLayer(files, await listLayer(archive, layer));
  return { names: manifest.RepoTags, config, files };
}

async function entryOf(archive: string, path: string): Promise<string> {
  return (await run('tar', ['-xOf', archive, path], { maxBuffer: mostOutputBytes })).stdout;
}

async function listLayer(archive: string, layer: string): Promise<string[]> {
  const list = 'set -o pipefail; tar -xOf "$1" "$2" | tar -tv --numeric-owner --quoting-style=literal';
  const { stdout } = await run('bash', ['-c', list, 'list', archive, layer], { maxBuffer: mostOutputBytes });
  return stdout.split('\n').filter((line) => line !== '');
}

const line = /^(\S+) (\d+\/\d+) +([\d,]+) \S+ \S+ (.+)$/;

/** A file `.wh.NAME` removes NAME of the layers below, `.wh..wh..opq` all that its folder held. */
function applyLayer(files: Map<string, ImageFile>, lines: readonly string[]): void {
  for (const text of lines) {
    const [, mode, owner, size, name] = line.exec(text) ?? [];
    if (mode === undefined || owner === undefined || size === undefined || name === undefined)
      throw new Error(`not a line of tar: ${text}`);
    const path = `/${name.replace(/ (?:->|link to) .*$/, '').replace(/^\.?\/|\/$/g, '')}`;
    const hidden = /^(.*)\/\.wh\.([^/]+)$/.exec(path);
    if (hidden === null) files.set(path, { mode, owner, bytes: Number(size.replaceAll(',', '')) });
    else if (hidden[2] === '.wh..opq') removeBelow(files, `${hidden[1]}`);
    else {
      files.delete(`${hidden[1]}/${hidden[2]}`);
      removeBelow(files, `${hidden[1]}/${hidden[2]}`);
    }
  }
}

function removeBelow(files: Map<string, ImageFile>, folder: string): void {
  for (const path of files.keys()) if (path.startsWith(`${folder}/`)) files.delete(path);
}
