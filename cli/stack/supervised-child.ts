import { setTimeout as sleep } from 'node:timers/promises';
import { removePidFile, writePidFile } from '../../infra/processes/pid-file.js';
import { endProcessGroup, killProcessGroup } from '../../infra/processes/process-group.js';
import { isReadyLine } from './child-output.js';
import { type Command, describeExit, type RunningProcess, startProcess } from './child-process.js';
import { RepeatedLines } from './repeated-lines.js';
import { planRestart } from './restart-backoff.js';
import type { ChildName } from './stack-paths.js';

/** One program that `up` keeps running. */
export interface ChildSpec {
  readonly name: ChildName;
  readonly command: Command;
  readonly pidFile: string;
  readonly logFile: string;
  /** How its readiness is seen: by the ready line on its stdout, or by asking (`pid` is the child's). */
  readonly ready: 'line' | ((pid: number) => Promise<boolean>);
  readonly readyTimeoutMs: number;
  /** How it is told to end, and how long it may take before it is killed. */
  readonly stopSignal: NodeJS.Signals;
  readonly stopGraceMs: number;
  /** What of a line of output is shown on the terminal; undefined: nothing. */
  readonly notice: (line: string) => string | undefined;
  /** Runs before each start, also before each restart. */
  readonly beforeStart?: () => Promise<void>;
}

/** A child that did not become ready at the first start. */
export class ChildStartError extends Error {
  constructor(spec: ChildSpec, reason: string, lastLines: readonly string[]) {
    const output =
      lastLines.length === 0
        ? ''
        : `\n  its last lines:\n${lastLines.map((line) => `    ${line}`).join('\n')}`;
    super(`${spec.name} did not start: ${reason}\n  log: ${spec.logFile}${output}`);
    this.name = 'ChildStartError';
  }
}

/**
 * Starts a program, waits until it is ready, and starts it again each time it dies, until it is stopped. A restart
 * waits by `planRestart` and writes a line with the name, how it died, the attempt and the wait.
 */
export class SupervisedChild {
  readonly spec: ChildSpec;
  readonly #log: (line: string) => void;
  readonly #notices: RepeatedLines;
  readonly #stopping = new AbortController();
  #current: RunningProcess | undefined;
  #sawReadyLine = false;
  #attempt = 0;

  constructor(spec: ChildSpec, log: (line: string) => void) {
    this.spec = spec;
    this.#log = log;
    this.#notices = new RepeatedLines((notice) => log(`${spec.name} | ${notice}`));
  }

  /** @throws ChildStartError when it dies or is not ready in time; it is dead then. */
  async start(signal?: AbortSignal): Promise<void> {
    const running = await this.#spawn();
    const outcome = await this.#waitUntilReady(running, signal);
    if (outcome !== 'ready') {
      await this.stop();
      signal?.throwIfAborted();
      throw new ChildStartError(this.spec, outcome, running.lastLines());
    }
    this.#superviseInBackground(running);
  }

  /** Ends the child and all of its process group; bounded by `stopGraceMs` and one second. Can be called twice. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#notices.clear();
    const identity = this.#current?.identity;
    if (identity !== undefined) {
      const { stopSignal, stopGraceMs, name } = this.spec;
      const end = await endProcessGroup(identity, { signal: stopSignal, graceMs: stopGraceMs });
      if (end === 'killed') this.#log(`${name} did not end within ${stopGraceMs} ms and was killed`);
      if (end === 'alive') this.#log(`${name} (pid ${identity.pid}) could not be ended`);
    }
    removePidFile(this.spec.pidFile);
  }

  /** Kills the child's process group at once, without waiting. */
  kill(): void {
    this.#stopping.abort();
    if (this.#current?.identity !== undefined) killProcessGroup(this.#current.identity, 'SIGKILL');
  }

  async #spawn(): Promise<RunningProcess> {
    await this.spec.beforeStart?.();
    this.#stopping.signal.throwIfAborted();
    this.#sawReadyLine = false;
    const running = startProcess(this.spec.command, {
      logFile: this.spec.logFile,
      onLine: (line) => this.#onLine(line),
    });
    this.#current = running;
    if (running.identity !== undefined) {
      writePidFile(this.spec.pidFile, running.identity, { name: this.spec.name });
    }
    return running;
  }

  #onLine(line: string): void {
    if (this.spec.ready === 'line' && isReadyLine(line)) this.#sawReadyLine = true;
    const notice = this.#stopping.signal.aborted ? undefined : this.spec.notice(line);
    if (notice !== undefined) this.#notices.add(notice);
  }

  /** `ready`, or in words why not. */
  async #waitUntilReady(running: RunningProcess, signal?: AbortSignal): Promise<string> {
    const deadline = Date.now() + this.spec.readyTimeoutMs;
    let exit: string | undefined;
    void running.exited.then((facts) => {
      exit = describeExit(facts);
    });
    while (Date.now() < deadline) {
      if (exit !== undefined) return exit;
      if (signal?.aborted === true || this.#stopping.signal.aborted) return 'it was stopped';
      if (await this.#isReady(running)) return 'ready';
      await sleep(20);
    }
    return `it was not ready within ${this.spec.readyTimeoutMs / 1_000} s`;
  }

  async #isReady(running: RunningProcess): Promise<boolean> {
    if (this.spec.ready === 'line') return this.#sawReadyLine;
    return running.identity !== undefined && (await this.spec.ready(running.identity.pid));
  }

  #superviseInBackground(running: RunningProcess): void {
    this.#supervise(running).catch((error: unknown) => {
      if (this.#stopping.signal.aborted) return;
      this.#log(`${this.spec.name} is no longer supervised: ${messageOf(error)}`);
    });
  }

  async #supervise(first: RunningProcess): Promise<void> {
    let running: RunningProcess | undefined = first;
    let startedAtMs = first.startedAtMs;
    let death = '';
    for (;;) {
      if (running !== undefined) {
        death = describeExit(await running.exited);
        // What the dead leader started itself (its group) must not hold ports or files against its successor.
        if (running.identity !== undefined) killProcessGroup(running.identity, 'SIGKILL');
      }
      if (this.#stopping.signal.aborted) return;
      const plan = planRestart({ previousAttempt: this.#attempt, ranMs: Date.now() - startedAtMs });
      this.#attempt = plan.attempt;
      this.#log(`${this.spec.name} died (${death}); restart ${plan.attempt} in ${plan.delayMs / 1_000} s`);
      if (!(await this.#wait(plan.delayMs))) return;
      startedAtMs = Date.now();
      try {
        running = await this.#spawn();
        await this.#reportRestart(running);
      } catch (error) {
        running = undefined;
        death = messageOf(error);
      }
    }
  }

  async #reportRestart(running: RunningProcess): Promise<void> {
    const outcome = await this.#waitUntilReady(running);
    if (outcome === 'ready') this.#log(`${this.spec.name} serves again`);
    else if (running.identity !== undefined) killProcessGroup(running.identity, 'SIGKILL');
  }

  /** Whether the time passed without a stop. */
  async #wait(ms: number): Promise<boolean> {
    try {
      await sleep(ms, undefined, { signal: this.#stopping.signal });
      return true;
    } catch {
      return false;
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
