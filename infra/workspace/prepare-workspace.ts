import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { isLocalRepository, type Workspace } from '../../contract/runs.js';
import { childEnvironment } from '../config/child-environment.js';

const run = promisify(execFile);

/** The workspace cannot be had: a cause that no retry changes (decisions.md, `prerequisite-failed`). */
export class PrerequisiteError extends Error {
  override readonly name = 'PrerequisiteError';
}

/** A repository was not fetched, for a reason that the next attempt may not meet: its server, the network, time or memory. */
export class InterruptedCloneError extends PrerequisiteError {}

/** Where a workspace is filled: beside the data of other sessions, or in a pod, whose only folders are those of its own session. */
export type WorkspacePlace =
  | {
      readonly kind: 'machine';
      /** Whose files belong to sessions: nothing in it, and nothing around it, is a workspace. */
      readonly dataDir: string;
    }
  | { readonly kind: 'pod' };

/**
 * Fills a session's workspace at its first turn: a copy of `path`, or a clone of `repository` at `ref`. One that has content is left alone. Made
 * beside and renamed, so that a crash in between never leaves half a workspace.
 *
 * @param options.defaultRepository what is cloned when the turn names nothing.
 * @throws PrerequisiteError when the folder or the repository cannot be had; the error of `signal`.
 */
export async function prepareWorkspace(
  directory: string,
  workspace: Workspace | null,
  options: {
    readonly place: WorkspacePlace;
    readonly defaultRepository: string | undefined;
    /** Of one command of git; `signal` is the bound of everything. */
    readonly gitTimeoutMs?: number;
  },
  signal: AbortSignal,
): Promise<void> {
  const { place, defaultRepository, gitTimeoutMs = 120_000 } = options;
  await mkdir(directory, { recursive: true });
  if ((await readdir(directory)).length > 0) return;
  const repository = workspace?.repository ?? (workspace?.path === undefined ? defaultRepository : undefined);
  const unfinished = `${directory}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  if (workspace?.path !== undefined) {
    await requireOutside(workspace.path, place, 'workspace.path');
    await copyFolder(workspace.path, unfinished);
  } else if (repository !== undefined) {
    if (isLocalRepository(repository))
      await requireOutside(localFolder(repository), place, 'workspace.repository');
    await clone(repository, workspace?.ref, unfinished, gitTimeoutMs, signal);
  } else await mkdir(unfinished);
  await ensureRepository(unfinished, gitTimeoutMs, signal);
  await rm(directory, { recursive: true, force: true });
  await rename(unfinished, directory);
}

/**
 * A folder without a history becomes a repository with one commit: agents look for the enclosing repository, which must not be one around the data
 * folder, and a diff needs a base. Without git on this machine it stays a plain folder.
 */
async function ensureRepository(directory: string, gitTimeoutMs: number, signal: AbortSignal): Promise<void> {
  if ((await stat(join(directory, '.git')).catch(() => undefined)) !== undefined) return;
  const git = (...args: string[]) =>
    run(
      'git',
      [
        '-C',
        directory,
        '-c',
        'user.name=AgentRun',
        '-c',
        'user.email=agentrun@localhost',
        '-c',
        'commit.gpgsign=false',
        ...args,
      ],
      {
        env: childEnvironment(),
        timeout: gitTimeoutMs,
        signal,
      },
    );
  try {
    await git('init', '--quiet');
    await git('add', '--all');
    await git(
      'commit',
      '--quiet',
      '--allow-empty',
      '--no-verify',
      '--message',
      'The workspace as the first turn found it',
    );
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
}

/** Links are followed first. */
async function requireOutside(folder: string, place: WorkspacePlace, field: string): Promise<void> {
  if (place.kind === 'pod')
    throw new PrerequisiteError(
      `${field}: ${folder} is a folder of one machine, and this runner is a pod: name a repository that can be cloned over the network`,
    );
  const [asked, data] = await Promise.all(
    [folder, place.dataDir].map((path) => realpath(path).catch(() => resolve(path))),
  );
  const within = (inner = '', outer = '') => inner === outer || inner.startsWith(join(outer, '/'));
  if (within(asked, data) || within(data, asked)) {
    throw new PrerequisiteError(`${field}: ${folder} holds data of AgentRun, or is a part of it`);
  }
}

function localFolder(repository: string): string {
  return repository.startsWith('/') ? repository : fileURLToPath(new URL(repository));
}

async function copyFolder(from: string, to: string): Promise<void> {
  const found = await stat(from).catch(() => undefined);
  if (found?.isDirectory() !== true) throw new PrerequisiteError(`workspace.path: ${from} is not a folder`);
  try {
    // Links stay as they are written: made absolute they would lead back into the folder that was copied.
    await cp(from, to, { recursive: true, errorOnExist: true, verbatimSymlinks: true });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    throw new PrerequisiteError(`workspace.path: ${from} cannot be copied (${code})`);
  }
}

async function clone(
  repository: string,
  ref: string | undefined,
  to: string,
  gitTimeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const branch = ref === undefined ? [] : ['--branch', ref];
  try {
    await run('git', ['clone', '--quiet', '--depth', '1', ...branch, '--', repository, to], {
      env: { ...childEnvironment({ LC_ALL: 'C' }), GIT_TERMINAL_PROMPT: '0' },
      timeout: gitTimeoutMs,
      signal,
    });
  } catch (error) {
    signal.throwIfAborted();
    const said = error instanceof Error ? error.message : 'unknown error';
    const message = `workspace.repository: the clone failed: ${withoutCredentials(said)}`;
    // By its time limit, or by a lack of memory.
    const wasCutOff = error instanceof Error && 'signal' in error && typeof error.signal === 'string';
    throw wasCutOff || unreachable.test(said)
      ? new InterruptedCloneError(message)
      : new PrerequisiteError(message);
  }
}

/** What git and its helpers say of a network or a server that is away, and of a helper that was killed. */
const unreachable =
  /could not resolve host|temporary failure in name resolution|failed to connect|connection (?:refused|reset|timed out|closed)|network is unreachable|no route to host|operation timed out|early eof|hung up unexpectedly|died of signal|returned error: (?:429|5\d\d)/i;

const withoutCredentials = (text: string) => text.replace(/\/\/[^/@\s]+@/g, '//[redacted]@').slice(0, 500);
