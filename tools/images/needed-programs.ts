import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { runCommand } from './run-command.js';

const installMs = 300_000;

/**
 * Sees to it that these programs are here: as root on Debian the missing ones are installed. The packages' names are the programs'.
 *
 * @throws Error that says what to install, when it may not or cannot.
 */
export async function needPrograms(names: readonly string[]): Promise<void> {
  const folders = [...(childEnvironment().PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  const isHere = (name: string) => folders.some((folder) => existsSync(join(folder, name)));
  const missing = names.filter((name) => !isHere(name));
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0 || !isHere('apt-get'))
    throw new Error(
      `please install ${missing.join(', ')}, for example: apt-get install ${missing.join(' ')}`,
    );
  const aptGet = (...args: string[]) =>
    runCommand('env', ['DEBIAN_FRONTEND=noninteractive', 'apt-get', '-qq', ...args], installMs);
  await aptGet('update');
  await aptGet('install', '--yes', '--no-install-recommends', ...missing);
}
