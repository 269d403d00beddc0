import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

const packageFileSchema = z.object({ name: z.string().optional() });

let found: string | undefined;

/**
 * The folder of AgentRun's own package.json: the same whether this runs from the sources or from `dist/`.
 *
 * @throws Error when no folder above this file holds it.
 */
export function packageRoot(): string {
  found ??= findUpwards(dirname(fileURLToPath(import.meta.url)));
  return found;
}

function findUpwards(start: string): string {
  for (let folder = start; ; folder = dirname(folder)) {
    if (packageNameIn(folder) === 'agentrun') return folder;
    if (dirname(folder) === folder) throw new Error(`no package.json named agentrun above ${start}`);
  }
}

function packageNameIn(folder: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(join(folder, 'package.json'), 'utf8');
  } catch {
    return undefined;
  }
  return packageFileSchema.parse(JSON.parse(text)).name;
}
