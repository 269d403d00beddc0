import { killLocalRunners, stopLocalRunners } from './local-runners.js';
import type { ChildName } from './stack-paths.js';
import { type ChildSpec, SupervisedChild } from './supervised-child.js';

/** Writes one line to the terminal. */
export type Log = (line: string) => void;

/** Together with the children's own grace times (worker 4 s, API 1.5 s, servers 2.5 s) below the promised 15 s. */
const runnersGraceMs = 5_000;

/** Who is stopped together, in order: first the users of a service, then the service. */
const stopOrder: readonly (readonly ChildName[])[] = [
  ['worker'],
  ['api', 'scripted-model'],
  ['temporal', 'postgres'],
];

/** The processes of one stack: starts them, keeps them, stops them in order. */
export class StackProcesses {
  readonly #runnersDir: string;
  readonly #log: Log;
  readonly #release: () => void;
  readonly #children = new Map<ChildName, SupervisedChild>();
  #ownsRunners = false;
  #stopped: Promise<void> | undefined;

  /** @param release gives the data folder free; called when everything has ended. */
  constructor(runnersDir: string, log: Log, release: () => void) {
    this.#runnersDir = runnersDir;
    this.#log = log;
    this.#release = release;
  }

  /** Starts these side by side and waits until all are ready. Throws the first failure, when none is under way. */
  async startTogether(specs: readonly ChildSpec[], signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const outcomes = await Promise.allSettled(specs.map(async (spec) => await this.#start(spec, signal)));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /**
   * Said when everything is up: from now on the runners end with the stack. A start that fails leaves alone what lives
   * from before, and so does a stack without a worker.
   */
  takeOverRunners(): void {
    this.#ownsRunners = this.#children.has('worker');
  }

  /**
   * The worker first, or it would start the turns that wait behind those that are ended here. Then the runners, while the API is there to store how
   * their attempts end; the next start's worker ends the runs. Then the rest in order.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopInOrder();
    return this.#stopped;
  }

  /** Kills all of it, runners included, at once. */
  kill(): void {
    // The worker first, so that it starts no new runner.
    this.#children.get('worker')?.kill();
    if (this.#ownsRunners) killLocalRunners(this.#runnersDir);
    for (const child of this.#children.values()) child.kill();
    this.#release();
  }

  async #start(spec: ChildSpec, signal?: AbortSignal): Promise<void> {
    const child = new SupervisedChild(spec, this.#log);
    this.#children.set(spec.name, child);
    const startedAt = Date.now();
    await child.start(signal);
    this.#log(`${spec.name} is ready (${Date.now() - startedAt} ms)`);
  }

  async #stopInOrder(): Promise<void> {
    try {
      for (const names of stopOrder) {
        await Promise.all(names.map(async (name) => await this.#children.get(name)?.stop()));
        if (names.includes('worker')) await this.#stopRunners();
      }
    } finally {
      this.#release();
    }
  }

  async #stopRunners(): Promise<void> {
    if (!this.#ownsRunners) return;
    await stopLocalRunners({ runnersDir: this.#runnersDir, graceMs: runnersGraceMs, log: this.#log });
  }
}
