import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

const require = createRequire(import.meta.url);

/**
 * The native codex program of the pinned package for this platform. It is started directly: the package's own launcher
 * is a Node program that costs another start and a process in between.
 *
 * @throws Error when the package is not installed for this platform.
 */
export function codexBinary(): string {
  const name = `@openai/codex-${process.platform}-${process.arch}`;
  const vendor = join(dirname(require.resolve(`${name}/package.json`)), 'vendor');
  for (const target of readdirSync(vendor)) {
    const binary = join(vendor, target, 'bin', 'codex');
    if (existsSync(binary)) return binary;
  }
  throw new Error(`no codex program in ${name}`);
}
