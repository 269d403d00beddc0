import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { connectionHint, findApi } from '../../cli/api-access.js';
import { StackNotReadyError, UsageError } from '../../cli/explain-error.js';
import { writeStackFile } from '../../cli/stack/stack-file.js';
import { acquireLock, stackLockFile } from '../../cli/stack/stack-lock.js';
import { createStackFolders, type StackPaths, stackPaths } from '../../cli/stack/stack-paths.js';
import { workspaceFolder } from '../../cli/workspace-folder.js';
import { ConfigurationError } from '../../infra/config/read-env.js';

let folder: string;
let paths: StackPaths;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'agentrun-api-access-'));
  paths = stackPaths(join(folder, 'data'));
  vi.stubEnv('AGENTRUN_DATA_DIR', paths.dataDir);
  for (const name of ['AGENTRUN_MGR_URL', 'AGENTRUN_API_TOKEN', 'AGENTRUN_API_TOKEN_FILE'])
    vi.stubEnv(name, '');
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

describe('the local stack', () => {
  it('was never started', () => {
    expect(() => findApi()).toThrow(ConfigurationError);
    expect(connectionHint()).toBe('the local stack is not running: agentrun up');
  });

  it('is still starting', () => {
    createStackFolders(paths);
    acquireLock(stackLockFile(paths));
    recordStack(process.pid + 1);
    const said = `the local stack is still starting (pid ${process.pid})`;
    expect(() => findApi()).toThrow(new StackNotReadyError(`${said}; try again in a moment`));
    expect(connectionHint()).toBe(said);
  });

  it('runs', () => {
    createStackFolders(paths);
    acquireLock(stackLockFile(paths));
    recordStack(process.pid);
    expect(findApi().apiUrl).toBe('http://127.0.0.1:1');
    expect(connectionHint()).toMatch(
      /runs \(pid \d+\), but its API at http:\/\/127\.0\.0\.1:1 does not answer/,
    );
  });

  it('has ended', () => {
    createStackFolders(paths);
    recordStack(process.pid);
    expect(findApi().apiUrl).toBe('http://127.0.0.1:1');
    expect(connectionHint()).toBe('the local stack is not running: agentrun up');
  });
});

it('names another API by its URL', () => {
  vi.stubEnv('AGENTRUN_MGR_URL', 'http://api.example');
  vi.stubEnv('AGENTRUN_API_TOKEN', 'token');
  expect(findApi().apiUrl).toBe('http://api.example');
  expect(connectionHint()).toBe('AGENTRUN_MGR_URL is http://api.example');
});

it('refuses a workspace that is not a folder', () => {
  const file = join(folder, 'file');
  writeFileSync(file, '');
  expect(workspaceFolder(folder)).toBe(folder);
  for (const path of [file, join(folder, 'nope')]) {
    expect(() => workspaceFolder(path)).toThrow(new UsageError(`--workspace: ${path} is not a folder`));
  }
});

function recordStack(pid: number): void {
  mkdirSync(paths.dataDir, { recursive: true });
  writeFileSync(paths.apiTokenFile, 'token');
  writeStackFile(paths.dataDir, {
    apiUrl: 'http://127.0.0.1:1',
    temporalAddress: '127.0.0.1:1',
    temporalUiUrl: 'http://127.0.0.1:1',
    databaseUrlFile: paths.databaseUrlFile,
    apiTokenFile: paths.apiTokenFile,
    scriptedUrl: null,
    pid,
    ports: { api: 1, temporal: 1, temporalUi: 1, postgres: 1 },
  });
}
