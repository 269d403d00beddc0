import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const maxDiffBytes = 512 * 1024;
const timeoutMs = 10_000;
/** Git's name for a tree with nothing in it: what a repository without a commit is compared with. */
const emptyTree = '4b825dc642cb6eb9a060e54bf8d69288fbee4904';

export interface WorkspaceDiff {
  /** Unified diff of the working tree against the last commit; null when there is none to be had. */
  readonly diff: string | null;
  /** The diff was longer than 512 KiB and is cut at a line's end. */
  readonly truncated: boolean;
  readonly error: string | null;
}

/**
 * What changed in a git working tree since its last commit, untracked files included (ignored ones not). The
 * repository's own index stays as it is: the new files are marked in a copy of it. Runs in agent-host only, since the
 * repository's configuration is the agent's to write and can execute code (architecture.md 7). At most 10 s in all.
 */
export async function workspaceDiff(
  directory: string,
  env: Readonly<Record<string, string>>,
): Promise<WorkspaceDiff> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const git: Git = async (args, indexFile) => {
    const { stdout } = await run('git', ['-c', 'core.fsmonitor=', '-c', 'core.quotePath=false', ...args], {
      cwd: directory,
      env: {
        ...env,
        GIT_CEILING_DIRECTORIES: resolve(directory, '..'),
        GIT_OPTIONAL_LOCKS: '0',
        GIT_TERMINAL_PROMPT: '0',
        ...(indexFile === undefined ? {} : { GIT_INDEX_FILE: indexFile }),
      },
      maxBuffer: 4 * maxDiffBytes,
      signal: deadline,
      killSignal: 'SIGKILL',
    });
    return stdout;
  };
  const diffArgs = ['diff', '--no-ext-diff', '--no-textconv', '--no-color'];
  try {
    // Most turns leave no untracked file: then the two questions, asked side by side, are the whole work.
    const [tracked, untracked] = await Promise.all([
      git([...diffArgs, 'HEAD', '--']).catch((error: unknown) => tooLongOrMissing(error)),
      git(['ls-files', '--others', '--exclude-standard', '--directory', '-z']),
    ]);
    if (tracked !== undefined && untracked === '') return { ...cut(tracked), error: null };
    return { ...cut(await diffWithUntracked(git, directory, diffArgs)), error: null };
  } catch (error) {
    const stdout = partialOutput(error);
    if (stdout !== undefined) return { ...cut(stdout), truncated: true, error: null };
    return { diff: null, truncated: false, error: reason(error, deadline.aborted) };
  }
}

type Git = (args: readonly string[], indexFile?: string) => Promise<string>;

/** Undefined for a repository without a commit; a diff beyond the buffer is thrown on, since what there is of it will do. */
function tooLongOrMissing(error: unknown): undefined {
  if (partialOutput(error) !== undefined) throw error;
  return undefined;
}

/** Marks the new files in a copy of the index, and compares with that. */
async function diffWithUntracked(git: Git, directory: string, diffArgs: readonly string[]): Promise<string> {
  const scratch = await mkdtemp(join(tmpdir(), 'agentrun-diff-'));
  const index = join(scratch, 'index');
  try {
    const [indexPath, base] = await Promise.all([
      git(['rev-parse', '--git-path', 'index']),
      git(['rev-parse', '--verify', '--quiet', 'HEAD']).catch(() => emptyTree),
    ]);
    await copyFile(resolve(directory, indexPath.trim()), index).catch(ignoreMissing);
    await git(['add', '--intent-to-add', '--', '.'], index);
    return await git([...diffArgs, base.trim(), '--'], index);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

function cut(diff: string): { diff: string; truncated: boolean } {
  if (Buffer.byteLength(diff) <= maxDiffBytes) return { diff, truncated: false };
  const bytes = Buffer.from(diff).subarray(0, maxDiffBytes);
  return { diff: bytes.subarray(0, bytes.lastIndexOf(10) + 1).toString('utf8'), truncated: true };
}

/** What git had printed when its output grew past the buffer. */
function partialOutput(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || !('stdout' in error)) return undefined;
  if (error.code !== 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') return undefined;
  return typeof error.stdout === 'string' ? error.stdout : undefined;
}

function reason(error: unknown, timedOut: boolean): string {
  if (timedOut) return `git took longer than ${timeoutMs} ms`;
  const stderr = error instanceof Error && 'stderr' in error ? String(error.stderr) : '';
  const text = stderr.trim() === '' && error instanceof Error ? error.message : stderr.trim();
  return text.slice(0, 500);
}

function ignoreMissing(error: unknown): void {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
  throw error;
}
