import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { childEnvironment } from '../../infra/config/child-environment.js';

/**
 * Runs a program to its end and answers what it wrote to stdout. Its stderr is ours.
 *
 * @throws Error when it cannot be started, fails, or takes longer than `longestMs`.
 */
export async function runCommand(
  file: string,
  args: readonly string[],
  longestMs: number,
  options: { readonly isShown?: boolean } = {},
): Promise<string> {
  const child = spawn(file, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: childEnvironment(),
    timeout: longestMs,
    killSignal: 'SIGTERM',
  });
  // Beside our stderr, so that a long build is seen as it goes and our own stdout stays the result.
  if (options.isShown === true) child.stdout.pipe(process.stderr, { end: false });
  const [said] = await Promise.all([text(child.stdout), once(child, 'close')]);
  if (child.exitCode !== 0)
    throw new Error(`${file} ${args.join(' ')} ended with ${child.exitCode ?? child.signalCode}`);
  return said;
}
