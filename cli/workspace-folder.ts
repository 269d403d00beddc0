import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { UsageError } from './explain-error.js';

/**
 * The absolute path of the folder that `--workspace` names.
 *
 * @throws UsageError when there is no such folder.
 */
export function workspaceFolder(option: string): string {
  const path = resolve(option);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new UsageError(`--workspace: ${path} is not a folder`);
  }
  return path;
}
