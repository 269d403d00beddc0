import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { workspaceDiff } from '../../runner/agent-host/workspace-diff.js';

const env = { PATH: process.env.PATH ?? '', HOME: tmpdir() };
let directory: string;
const git = (...args: string[]) =>
  execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@t', ...args], { cwd: directory, env });

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'agentrun-diff-test-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test('changed, deleted and untracked files, without touching the index', async () => {
  git('init', '-q');
  writeFileSync(join(directory, 'kept.txt'), 'before\n');
  writeFileSync(join(directory, 'gone.txt'), 'x\n');
  writeFileSync(join(directory, '.gitignore'), 'ignored.txt\n');
  git('add', '.');
  git('commit', '-qm', 'first');
  writeFileSync(join(directory, 'kept.txt'), 'after\n');
  rmSync(join(directory, 'gone.txt'));
  writeFileSync(join(directory, 'new.txt'), 'hello\n');
  writeFileSync(join(directory, 'ignored.txt'), 'secret\n');
  const index = readFileSync(join(directory, '.git', 'index'));
  const result = await workspaceDiff(directory, env);
  expect(result).toMatchObject({ truncated: false, error: null });
  for (const part of ['-before', '+after', 'deleted file', '+hello']) expect(result.diff).toContain(part);
  expect(result.diff).not.toContain('secret');
  expect(readFileSync(join(directory, '.git', 'index'))).toEqual(index);
});

test('a repository without a commit', async () => {
  git('init', '-q');
  writeFileSync(join(directory, 'new.txt'), 'hello\n');
  expect((await workspaceDiff(directory, env)).diff).toContain('+hello');
});

test('no repository is told, and a long diff is cut at a line', async () => {
  expect(await workspaceDiff(directory, env)).toMatchObject({
    diff: null,
    error: expect.stringContaining('not a git repository') as string,
  });
  git('init', '-q');
  writeFileSync(join(directory, 'long.txt'), 'a line of the long file\n'.repeat(200_000));
  const result = await workspaceDiff(directory, env);
  expect(result.truncated).toBe(true);
  expect(result.diff?.length).toBeLessThanOrEqual(512 * 1024);
  expect(result.diff?.endsWith('\n')).toBe(true);
});
