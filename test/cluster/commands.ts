import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);

/** Runs a program to its end and gives what it printed. @throws Error with its complaint when it fails or does not end in time. */
export async function run(
  command: string,
  args: readonly string[],
  options: { readonly timeoutMs?: number; readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
): Promise<string> {
  const { timeoutMs = 30_000, ...rest } = options;
  const { stdout } = await execute(command, [...args], {
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 16 * 1_024 * 1_024,
    ...rest,
  });
  return stdout;
}
