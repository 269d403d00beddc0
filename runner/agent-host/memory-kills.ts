import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const lookEveryMs = 1_000;
/** The exit of a killed process is heard of at most so long after the kernel counted it: one look, and a machine that is short of memory. */
const lateMs = 3_000;

/**
 * How often the kernel has killed a process because the memory of this container ran out: a count of its control group, which says neither whom nor when.
 * It is looked at every second while somebody watches, so that a kill is known to be recent. Without such a group nothing is ever known.
 */
export class MemoryKills {
  readonly #file: string | undefined;
  #count: number;
  #grewAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  /** @param files where the count may stand; the first that can be read is it. */
  constructor(files: readonly string[]) {
    this.#file = files.find((file) => countIn(file) !== undefined);
    this.#count = this.#read();
  }

  static ofThisProcess(): MemoryKills {
    return new MemoryKills(countFiles(textOf('/proc/self/cgroup') ?? ''));
  }

  /** Starts to look; again: looks once. */
  watch(): void {
    this.#look();
    this.#timer ??= setInterval(() => this.#look(), lookEveryMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Whether something of this container was killed just now. */
  get isRecent(): boolean {
    this.#look();
    return performance.now() - this.#grewAt < lateMs;
  }

  #look(): void {
    const count = this.#read();
    if (count > this.#count) this.#grewAt = performance.now();
    this.#count = count;
  }

  #read(): number {
    return (this.#file === undefined ? undefined : countIn(this.#file)) ?? 0;
  }
}

/**
 * Where the count of a process may stand, by its `/proc/<pid>/cgroup`: version 2 in `memory.events`, version 1 in `memory.oom_control`. In a container the
 * path may be the host's, while its own group is mounted at the root.
 */
export function countFiles(cgroups: string): string[] {
  const entries = cgroups.split('\n').map((line) => /^\d+:([^:]*):(\/.*)$/.exec(line));
  const pathOf = (fits: (controllers: string) => boolean): string | undefined =>
    entries.find((entry) => entry !== null && fits(entry[1] ?? ''))?.[2];
  const memory = pathOf((controllers) => controllers.split(',').includes('memory'));
  const unified = pathOf((controllers) => controllers === '');
  const inGroup = (mount: string, path: string | undefined, name: string): string[] =>
    path === undefined ? [] : [join(mount, path, name), join(mount, name)];
  return [
    ...inGroup('/sys/fs/cgroup/memory', memory, 'memory.oom_control'),
    ...inGroup('/sys/fs/cgroup', unified, 'memory.events'),
  ];
}

function countIn(file: string): number | undefined {
  const count = /^oom_kill (\d+)$/m.exec(textOf(file) ?? '')?.[1];
  return count === undefined ? undefined : Number(count);
}

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
