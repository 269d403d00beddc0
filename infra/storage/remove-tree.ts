import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { childEnvironment } from '../config/child-environment.js';

const run = promisify(execFile);
/** Of what a program says about names that an agent chose. */
const longestReason = 300;
const mostOutputBytes = 4_000_000;

/**
 * Deletes a folder with everything below it: by `rm` and, when that may not, by `chmod` and `rm` again, since package caches make folders read-only.
 * Both go down folder by folder and follow no link, so they cope with trees that are deeper than the longest path that the kernel takes, as an agent may
 * leave them; Node's own `rm` does not (ENAMETOOLONG). What is mounted below is left alone. Nothing there is fine.
 *
 * @throws Error with the reason when something is left; also when `longestMs` has passed or `signal` aborts.
 */
export async function removeTree(
  path: string,
  { longestMs, signal }: { readonly longestMs: number; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const deadline = performance.now() + longestMs;
  const tool = (program: string, ...given: string[]) =>
    run(program, [...given, '--', path], {
      env: childEnvironment({ LC_ALL: 'C' }),
      timeout: Math.max(1, Math.ceil(deadline - performance.now())),
      maxBuffer: mostOutputBytes,
      killSignal: 'SIGKILL',
      ...(signal === undefined ? {} : { signal }),
    });
  try {
    await tool('rm', '-rf', '--one-file-system');
    return;
  } catch (error) {
    if (signal?.aborted === true || performance.now() > deadline) throw reasonOf(path, error);
  }
  // What it could not change shows in what is left afterwards.
  await tool('chmod', '-R', 'u+rwX').catch(() => undefined);
  try {
    await tool('rm', '-rf', '--one-file-system');
  } catch (error) {
    throw reasonOf(path, error);
  }
}

function reasonOf(path: string, error: unknown): Error {
  const said = error instanceof Error && 'stderr' in error ? String(error.stderr).trim() : '';
  // The end of the first line: before it stands a path that may be long.
  const reason = said === '' ? 'it was broken off' : said.split('\n', 1).join('').slice(-longestReason);
  return new Error(`${path} cannot be removed: ${reason}`, { cause: said === '' ? error : undefined });
}
