import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { isLocalRepository, type Workspace } from '../../contract/runs.js';
import { childEnvironment } from '../config/child-environment.js';

const run = promisify(execFile);
const cloneTimeoutMs = 120_000;

/** The workspace cannot be had: a cause that no retry changes (decisions.md, `prerequisite-failed`). */
export class PrerequisiteError extends Error {
  override readonly name = 'PrerequisiteError';
}

/**
 * Fills a session's workspace at its first turn: a copy of `path`, or a clone of `repository` at `ref`. One that has content is left alone. Made
 * beside and renamed, so that a crash in between never leaves half a workspace.
 *
 * @param options.dataDir whose files belong to sessions: nothing in it, and nothing around it, is a workspace.
 * @throws PrerequisiteError when the folder or the repository cannot be had.
 */
export async function prepareWorkspace(
  directory: string,
  workspace: Workspace | null,
  options: { readonly dataDir: string; readonly defaultRepository: string | undefined },
  signal: AbortSignal,
): Promise<void> {
  const { dataDir, defaultRepository } = options;
  await mkdir(directory, { recursive: true });
  if ((await readdir(directory)).length > 0) return;
  const repository = workspace?.repository ?? (workspace?.path === undefined ? defaultRepository : undefined);
  const unfinished = `${directory}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  if (workspace?.path !== undefined) {
    await requireOutside(workspace.path, dataDir, 'workspace.path');
    await copyFolder(workspace.path, unfinished);
  } else if (repository !== undefined) {
    if (isLocalRepository(repository))
      await requireOutside(localFolder(repository), dataDir, 'workspace.repository');
    await clone(repository, workspace?.ref, unfinished, signal);
  } else await mkdir(unfinished);
  await ensureRepository(unfinished, signal);
  await rm(directory, { recursive: true, force: true });
  await rename(unfinished, directory);
}

/**
 * A folder without a history becomes a repository with one commit: agents look for the enclosing repository, which must not be one around the data
 * folder, and a diff needs a base. Without git on this machine it stays a plain folder.
 */
async function ensureRepository(directory: string, signal: AbortSignal): Promise<void> {
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
        timeout: cloneTimeoutMs,
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
async function requireOutside(folder: string, dataDir: string, field: string): Promise<void> {
  const [asked, data] = await Promise.all(
    [folder, dataDir].map((path) => realpath(path).catch(() => resolve(path))),
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
  signal: AbortSignal,
): Promise<void> {
  const branch = ref === undefined ? [] : ['--branch', ref];
  try {
    await run('git', ['clone', '--quiet', '--depth', '1', ...branch, '--', repository, to], {
      env: { ...childEnvironment(), GIT_TERMINAL_PROMPT: '0' },
      timeout: cloneTimeoutMs,
      signal,
    });
  } catch (error) {
    signal.throwIfAborted();
    const reason = error instanceof Error ? withoutCredentials(error.message) : 'unknown error';
    throw new PrerequisiteError(`workspace.repository: the clone failed: ${reason}`);
  }
}

const withoutCredentials = (text: string) => text.replace(/\/\/[^/@\s]+@/g, '//[redacted]@').slice(0, 500);
