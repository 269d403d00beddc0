import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import {
  endProcessGroup,
  isProcessGroupAlive,
  killProcessGroup,
} from '../../infra/processes/process-group.js';
import { type ProcessIdentity, readProcessIdentity } from '../../infra/processes/process-identity.js';
import { descendantsOf, killProcesses } from './process-tree.js';
import type { GroupSignal } from './protocol.js';

/** How much a child may leave unread on its stdin before it is taken for broken. */
const maxStdinBacklogBytes = 32 * 1024 * 1024;
/** A grandchild may keep the pipes open after the child's exit; its output is not waited for longer than this. */
const lastOutputGraceMs = 500;

export interface ChildProcessListener {
  onSpawned(pid: number): void;
  onSpawnError(message: string): void;
  onOutput(stream: 'stdout' | 'stderr', chunk: Buffer): void;
  /** Called once, after all output that came in time. `byUs`: the signal may be ours. */
  onExit(code: number | null, signal: string | null, byUs: boolean): void;
}

/** One child in its own process group, with its stdio bridged to a listener. */
export class HostedProcess {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #identity: ProcessIdentity | undefined;
  /** Descendants seen at the last signal; they may have left the group. */
  #stragglers: ProcessIdentity[] = [];
  #finished = false;
  #killed = false;

  constructor(
    command: { file: string; args: readonly string[]; cwd: string; env: Readonly<Record<string, string>> },
    listener: ChildProcessListener,
  ) {
    this.#child = spawn(command.file, [...command.args], {
      cwd: command.cwd,
      env: { ...command.env },
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    // Known at once, so that a signal which follows on the heels of the spawn is not lost.
    const { pid } = this.#child;
    if (pid !== undefined) {
      this.#identity = readProcessIdentity(pid);
      this.#child.once('spawn', () => listener.onSpawned(pid));
    }
    this.#child.on('error', (error) => {
      if (this.#child.pid !== undefined || this.#finished) return;
      this.#finished = true;
      listener.onSpawnError(error.message);
    });
    this.#child.stdout.on('data', (chunk: Buffer) => listener.onOutput('stdout', chunk));
    this.#child.stderr.on('data', (chunk: Buffer) => listener.onOutput('stderr', chunk));
    // A child that closed its stdin, or died, makes writes fail with EPIPE; its exit says the rest.
    this.#child.stdin.on('error', () => undefined);
    this.#child.on('exit', (code, signal) => {
      const finish = (): void => {
        clearTimeout(timer);
        if (this.#finished) return;
        this.#finished = true;
        this.#child.stdout.destroy();
        this.#child.stderr.destroy();
        listener.onExit(code, signal, this.#killed);
      };
      const timer = setTimeout(finish, lastOutputGraceMs);
      this.#child.once('close', finish);
    });
  }

  /** The process that leads the group; undefined before it was started. */
  get identity(): ProcessIdentity | undefined {
    return this.#identity;
  }

  /** Whether anything of the group still runs. */
  get groupAlive(): boolean {
    return this.#identity !== undefined && isProcessGroupAlive(this.#identity);
  }

  write(data: Buffer): void {
    if (!this.#child.stdin.writable) return;
    this.#child.stdin.write(data);
    if (this.#child.stdin.writableLength > maxStdinBacklogBytes) this.signal('SIGKILL');
  }

  closeStdin(): void {
    this.#child.stdin.end();
  }

  /** Stops reading the child's output, so that the kernel's pipe holds it back. */
  pauseOutput(): void {
    this.#child.stdout.pause();
    this.#child.stderr.pause();
  }

  resumeOutput(): void {
    if (this.#finished) return;
    this.#child.stdout.resume();
    this.#child.stderr.resume();
  }

  /** Signals the whole group. A kill also reaches descendants that left the group. */
  signal(signal: GroupSignal): void {
    const identity = this.#identity;
    if (identity === undefined) return;
    this.#rememberDescendants(identity);
    if (signal === 'SIGKILL') this.#killed = true;
    killProcessGroup(identity, signal);
    if (signal === 'SIGKILL') killProcesses(this.#stragglers);
  }

  /** Ends the group and its descendants: TERM, `graceMs`, KILL. */
  async end(graceMs: number): Promise<void> {
    const identity = this.#identity;
    if (identity === undefined) return;
    this.#rememberDescendants(identity);
    this.#killed = true;
    await endProcessGroup(identity, { signal: 'SIGTERM', graceMs });
    killProcesses(this.#stragglers);
  }

  #rememberDescendants(leader: ProcessIdentity): void {
    const known = new Set(this.#stragglers.map((one) => `${one.pid}:${one.startTime}`));
    const found = descendantsOf(leader.pid).filter((one) => !known.has(`${one.pid}:${one.startTime}`));
    this.#stragglers.push(...found);
  }
}
