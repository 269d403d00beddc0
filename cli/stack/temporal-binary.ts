import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { acquireLock } from './stack-lock.js';
import {
  buildTemporal,
  downloadTemporal,
  type FetchOptions,
  isTemporalProgram,
  progressEveryMs,
  temporalBuildTimeoutMs,
  temporalVersion,
} from './temporal-fetch.js';

/** Where the program is looked for. */
export interface TemporalBinaryOptions extends FetchOptions {
  /** The user's TEMPORAL_CLI_PATH. */
  readonly cliPath: string | undefined;
  readonly searchPath: readonly string[];
  readonly cacheDir: string;
}

/**
 * Finds the `temporal` program, which holds the dev server and its UI: TEMPORAL_CLI_PATH, PATH, our cache; else it is
 * downloaded into the cache, else built there with Go (toolbox.md, Temporal).
 *
 * @throws Error that says what to install when none of it works.
 */
export async function findTemporalBinary(options: TemporalBinaryOptions): Promise<string> {
  if (options.cliPath !== undefined) {
    if (await isTemporalProgram(options.cliPath)) return options.cliPath;
    throw new Error(`TEMPORAL_CLI_PATH names no working temporal program: ${options.cliPath}`);
  }
  const cached = join(options.cacheDir, 'bin', `temporal-${temporalVersion}`, 'temporal');
  for (const candidate of [...options.searchPath.map((folder) => join(folder, 'temporal')), cached]) {
    if (await isTemporalProgram(candidate)) return candidate;
  }
  return await fetchOnce(cached, options);
}

/** Several starts at once share one download or build. */
async function fetchOnce(target: string, options: TemporalBinaryOptions): Promise<string> {
  mkdirSync(dirname(target), { recursive: true });
  const deadline = Date.now() + temporalBuildTimeoutMs;
  while (Date.now() < deadline) {
    const lock = acquireLock(`${target}.lock`);
    if (lock.kind === 'acquired') {
      try {
        if (!(await isTemporalProgram(target))) await fetchByAnyWay(target, options);
        return target;
      } finally {
        lock.release();
      }
    }
    options.log(`waiting for process ${lock.owner.pid}, which fetches the Temporal server`);
    await sleep(progressEveryMs, undefined, options.signal === undefined ? {} : { signal: options.signal });
  }
  throw new Error(`another process has been fetching ${target} for too long`);
}

async function fetchByAnyWay(target: string, options: TemporalBinaryOptions): Promise<void> {
  const ways = [
    { name: 'download', fetchInto: downloadTemporal },
    { name: 'go install', fetchInto: buildTemporal },
  ];
  const problems: string[] = [];
  for (const way of ways) {
    try {
      await way.fetchInto(target, options);
      return;
    } catch (error) {
      options.signal?.throwIfAborted();
      const problem = `${way.name}: ${describeFailure(error)}`;
      options.log(`no Temporal server by ${problem.split('\n')[0]}`);
      problems.push(problem);
    }
  }
  throw new Error(
    'There is no Temporal server on this machine. Install the Temporal CLI (https://docs.temporal.io/cli) so that ' +
      '`temporal` is on PATH, or set TEMPORAL_CLI_PATH to it, or install Go 1.24 or later; then start again.\n  ' +
      problems.join('\n  '),
  );
}

/** `fetch failed` says nothing; its cause does. */
function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? ` (${error.cause.message})` : '';
  return `${error.message}${cause}`;
}
