import { setTimeout as sleep } from 'node:timers/promises';
import { endProcessGroup } from '../../infra/processes/process-group.js';
import { type Command, describeExit, startProcess } from './child-process.js';

/**
 * Runs a program to its end.
 *
 * @throws Error with its last lines when it fails, does not end within `timeoutMs`, or `signal` aborts.
 */
export async function runToEnd(
  command: Command,
  options: {
    readonly name: string;
    readonly logFile: string;
    readonly timeoutMs: number;
    readonly signal?: AbortSignal | undefined;
    readonly onLine?: (line: string) => void;
  },
): Promise<void> {
  const running = startProcess(command, {
    logFile: options.logFile,
    onLine: options.onLine ?? (() => undefined),
  });
  const timer = new AbortController();
  const limit = AbortSignal.any([timer.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  const ended = await Promise.race([
    running.exited,
    sleep(options.timeoutMs, undefined, { signal: limit }).catch(() => undefined),
  ]);
  timer.abort();
  if (ended === undefined && running.identity !== undefined) {
    await endProcessGroup(running.identity, { signal: 'SIGTERM', graceMs: 2_000 });
  }
  options.signal?.throwIfAborted();
  if (ended?.code === 0) return;
  const reason =
    ended === undefined ? `did not end within ${options.timeoutMs / 1_000} s` : describeExit(ended);
  const output = running
    .lastLines()
    .map((line) => `\n    ${line}`)
    .join('');
  throw new Error(`${options.name} failed: ${reason}\n  log: ${options.logFile}${output}`);
}
