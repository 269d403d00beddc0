import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, existsSync, renameSync, statSync, type WriteStream } from 'node:fs';
import { type ProcessIdentity, readProcessIdentity } from '../../infra/processes/process-identity.js';
import { lineSplitter } from './child-output.js';

const largestLogFileBytes = 20 * 1024 * 1024;
const keptLines = 12;

/** How a program is started. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Another user than ours; only root can. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
}

/** How a process ended. */
export interface ExitFacts {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it could not be started at all, for example ENOENT. */
  readonly startError?: string;
}

/** A started program: leader of its own process group, so that Ctrl-C in the terminal reaches only `up`, which stops
 * the parts in order. */
export interface RunningProcess {
  /** Undefined when it could not be started, or has ended before anyone looked. */
  readonly identity: ProcessIdentity | undefined;
  readonly startedAtMs: number;
  readonly exited: Promise<ExitFacts>;
  /** The last lines it wrote, for an error message. */
  readonly lastLines: () => string[];
}

/** Starts a program; its output goes line by line to the log file and to `onLine`. */
export function startProcess(
  command: Command,
  output: { readonly logFile: string; readonly onLine: (line: string) => void },
): RunningProcess {
  const log = openLog(output.logFile);
  const lines: string[] = [];
  const split = () =>
    lineSplitter((line) => {
      log.write(`${line}\n`);
      lines.push(line);
      if (lines.length > keptLines) lines.shift();
      output.onLine(line);
    });
  const child = spawn(command.file, [...command.args], {
    env: { ...command.env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
    ...command.user,
  });
  child.stdout.setEncoding('utf8').on('data', split());
  child.stderr.setEncoding('utf8').on('data', split());
  return {
    identity: child.pid === undefined ? undefined : readProcessIdentity(child.pid),
    startedAtMs: Date.now(),
    exited: exitOf(child, log),
    lastLines: () => [...lines],
  };
}

/** `exit code 1`, `signal SIGKILL` or the reason why it did not start. */
export function describeExit(exit: ExitFacts): string {
  if (exit.startError !== undefined) return `could not be started: ${exit.startError}`;
  return exit.signal === null ? `exit code ${exit.code}` : `signal ${exit.signal}`;
}

function exitOf(child: ChildProcess, log: WriteStream): Promise<ExitFacts> {
  return new Promise((resolve) => {
    const end = (exit: ExitFacts) => {
      // 'exit', not 'close': a grandchild that keeps the pipe open must not hide the death (dependencies.md 4.8). What
      // is still in the pipe is read for a moment longer, for the error message.
      setTimeout(() => {
        child.stdout?.destroy();
        child.stderr?.destroy();
        log.end();
      }, 200).unref();
      setTimeout(() => resolve(exit), 20);
    };
    child.once('exit', (code, signal) => end({ code, signal }));
    child.once('error', (error) => {
      if (child.pid === undefined) end({ code: null, signal: null, startError: error.message });
    });
  });
}

/** Appends to the log of earlier starts; one earlier file is kept when it has grown large. */
function openLog(path: string): WriteStream {
  if (existsSync(path) && statSync(path).size > largestLogFileBytes) renameSync(path, `${path}.1`);
  const log = createWriteStream(path, { flags: 'a', mode: 0o600 });
  // A full disk must not take the stack down; the lines still reach the terminal.
  log.on('error', () => undefined);
  return log;
}
