import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type { Workspace } from '../../../contract/runs.js';
import { PrerequisiteError, prepareWorkspace } from '../../../infra/workspace/prepare-workspace.js';

const root = await mkdtemp(join(tmpdir(), 'agentrun-workspace-'));
const dataDir = join(root, 'around', 'data');
const other = join(dataDir, 'sessions', 'other', 'workspace');
await mkdir(other, { recursive: true });
await mkdir(join(root, 'project'));
await mkdir(join(root, 'around', 'data-of-others'));
await writeFile(join(root, 'project', 'file'), 'text');
await symlink(other, join(root, 'link'));
afterAll(() => rm(root, { recursive: true, force: true }));

const target = join(dataDir, 'sessions', 'mine', 'workspace');
const prepare = (workspace: Workspace) =>
  prepareWorkspace(
    target,
    workspace,
    { place: { kind: 'machine', dataDir }, defaultRepository: undefined },
    AbortSignal.timeout(10_000),
  );

describe('a workspace', () => {
  test.each<[string, Workspace]>([
    ['a folder of another session', { path: other }],
    ['a link to it', { path: join(root, 'link') }],
    ['the data folder', { path: `${dataDir}/` }],
    ['a folder around it', { path: join(root, 'around') }],
    ['a roundabout path to it', { path: join(root, 'project/../around/data/sessions') }],
    ['a repository in it', { repository: other }],
    ['a repository in it as a URL', { repository: `file://${other}` }],
  ])('is never %s', async (_name, workspace) => {
    await expect(prepare(workspace)).rejects.toThrow(PrerequisiteError);
    await expect(prepare(workspace)).rejects.toThrow(/data of AgentRun/);
  });

  test('is a copy of a folder elsewhere, also of one whose name begins alike', async () => {
    await prepare({ path: join(root, 'project') });
    expect(await readFile(join(target, 'file'), 'utf8')).toBe('text');
    await rm(target, { recursive: true });
    await prepare({ path: join(root, 'around', 'data-of-others') });
  });
});
