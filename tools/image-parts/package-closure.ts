import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';

const packageFileSchema = z.object({
  dependencies: z.record(z.string(), z.string()).default({}),
  optionalDependencies: z.record(z.string(), z.string()).default({}),
  peerDependencies: z.record(z.string(), z.string()).default({}),
  peerDependenciesMeta: z.record(z.string(), z.object({ optional: z.boolean().default(false) })).default({}),
});

/**
 * Folders of these packages and of all that they need, below `root` and relative to it, sorted. Each package finds its dependencies as Node does: in its
 * own node_modules, then in those around it. An optional dependency that is not installed is left out: it is for another platform.
 *
 * @throws Error when a package that is needed is not installed.
 */
export function packageClosure(root: string, names: readonly string[]): string[] {
  const found = new Set<string>();
  const add = (from: string, name: string, isOptional: boolean) => {
    const folder = folderOf(root, from, name);
    if (folder === undefined) {
      if (isOptional) return;
      throw new Error(`${name} is not installed${from === '' ? '' : `, which ${from} needs`}`);
    }
    if (found.has(folder)) return;
    found.add(folder);
    const needs = packageFileSchema.parse(
      JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')),
    );
    for (const needed of Object.keys(needs.dependencies))
      add(folder, needed, needed in needs.optionalDependencies);
    for (const needed of Object.keys(needs.optionalDependencies)) add(folder, needed, true);
    for (const needed of Object.keys(needs.peerDependencies))
      if (needs.peerDependenciesMeta[needed]?.optional !== true) add(folder, needed, false);
  };
  for (const name of names) add('', name, false);
  return [...found].sort();
}

/** Where the package at `from` finds `name`; undefined when nowhere below the root. */
function folderOf(root: string, from: string, name: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const base = folder === '.' ? '' : folder;
    const candidate = join(base, 'node_modules', name);
    if (existsSync(join(root, candidate, 'package.json'))) return candidate;
    if (base === '') return undefined;
  }
}
