import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, chmodSync, constants, createWriteStream, mkdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { childEnvironment, goEnvironment } from '../../infra/config/child-environment.js';
import { runToEnd } from './one-shot.js';

/** Server 1.29.1 and UI 2.42.1. Later versions cannot be built by `go install` (a replace directive in go.mod). */
export const temporalVersion = '1.5.1';

export const temporalBuildTimeoutMs = 15 * 60_000;
export const progressEveryMs = 5_000;

const answerTimeoutMs = 15_000;
const downloadTimeoutMs = 180_000;

/** Whom to tell how it goes, and where the output of the tools goes. */
export interface FetchOptions {
  readonly logFile: string;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Whether a file is a `temporal` program that runs on this machine. */
export async function isTemporalProgram(path: string): Promise<boolean> {
  try {
    accessSync(path, constants.X_OK);
    const { stdout } = await promisify(execFile)(path, ['--version'], {
      env: childEnvironment(),
      timeout: 20_000,
    });
    return stdout.startsWith('temporal version ');
  } catch {
    return false;
  }
}

/**
 * Downloads the program from Temporal's own site. A machine without a way there learns it within 15 s.
 *
 * @throws Error when the site cannot be reached, refuses, or sends something that does not run.
 */
export async function downloadTemporal(target: string, options: FetchOptions): Promise<void> {
  const platform = `platform=${process.platform}&arch=${process.arch === 'x64' ? 'amd64' : process.arch}`;
  const url = `https://temporal.download/cli/archive/v${temporalVersion}?${platform}`;
  options.log(`downloading the Temporal server ${temporalVersion} from temporal.download`);
  const folder = `${target}.download-${randomBytes(4).toString('hex')}`;
  mkdirSync(folder, { recursive: true });
  const stopProgress = reportProgress('downloading the Temporal server', options.log);
  try {
    const archive = join(folder, 'archive.tar.gz');
    await saveUrl(url, archive, options.signal);
    await promisify(execFile)('tar', ['-xzf', archive, '-C', folder, 'temporal'], {
      env: childEnvironment(),
      timeout: 60_000,
    });
    await moveIntoPlace(join(folder, 'temporal'), target);
  } finally {
    stopProgress();
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * Builds the program with `go install`: 2.5 min on two cores, 240 MB.
 *
 * @throws Error when there is no Go or the build fails.
 */
export async function buildTemporal(target: string, options: FetchOptions): Promise<void> {
  const folder = `${target}.build-${randomBytes(4).toString('hex')}`;
  mkdirSync(folder, { recursive: true });
  options.log('building the Temporal server with Go (about 3 min, only the first time on this machine)');
  const stopProgress = reportProgress('building the Temporal server', options.log);
  try {
    await runToEnd(
      {
        file: 'go',
        args: ['install', `github.com/temporalio/cli/cmd/temporal@v${temporalVersion}`],
        env: goEnvironment({ GOBIN: folder }),
        cwd: dirname(target),
      },
      {
        name: 'go install',
        logFile: options.logFile,
        timeoutMs: temporalBuildTimeoutMs,
        signal: options.signal,
      },
    );
    await moveIntoPlace(join(folder, 'temporal'), target);
  } finally {
    stopProgress();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function saveUrl(url: string, file: string, signal?: AbortSignal): Promise<void> {
  const noAnswer = new AbortController();
  const answerTimer = setTimeout(() => noAnswer.abort(new Error('no answer within 15 s')), answerTimeoutMs);
  const limits = [
    noAnswer.signal,
    AbortSignal.timeout(downloadTimeoutMs),
    ...(signal === undefined ? [] : [signal]),
  ];
  const limit = AbortSignal.any(limits);
  try {
    const response = await fetch(url, { signal: limit });
    clearTimeout(answerTimer);
    if (!response.ok || response.body === null)
      throw new Error(`temporal.download answered ${response.status}`);
    await pipeline(Readable.fromWeb(response.body), createWriteStream(file), { signal: limit });
  } finally {
    clearTimeout(answerTimer);
  }
}

/** Checked first and moved in one step, so that no start ever finds half a program. */
async function moveIntoPlace(file: string, target: string): Promise<void> {
  chmodSync(file, 0o755);
  if (!(await isTemporalProgram(file))) throw new Error('the program does not run on this machine');
  renameSync(file, target);
}

function reportProgress(what: string, log: (line: string) => void): () => void {
  const startedAt = Date.now();
  const timer = setInterval(
    () => log(`${what}: ${Math.round((Date.now() - startedAt) / 1_000)} s`),
    progressEveryMs,
  );
  return () => clearInterval(timer);
}
