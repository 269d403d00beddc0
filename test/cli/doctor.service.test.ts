import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkProgram } from '../../cli/doctor/program-checks.js';
import type { CheckResult } from '../../contract/doctor.js';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { newKeySet, startApi, type TestApi } from '../support/api.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { serverPort } from '../support/server-port.js';

/** The programs of dist/ with `--check`, each told one thing that is wrong: the line names the setting. */
const folder = mkdtempSync(join(tmpdir(), 'agentrun-doctor-'));
let postgres: TestPostgres;
let api: TestApi;
let other: TestApi;
let page: Server;
let pageUrl: string;
let env: Record<string, string>;

beforeAll(async () => {
  postgres = await startPostgres();
  const database = await postgres.newDatabase();
  api = await startApi(database, { pathPrefix: '/agentrun' });
  const others = await postgres.newDatabase();
  // The databases of a test are copies of one, and so are their ids.
  await others.pool.query('update installation set installation_id = gen_random_uuid()');
  other = await startApi(others);
  page = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end('<html>welcome</html>');
  });
  pageUrl = `http://127.0.0.1:${await serverPort(page)}`;
  writeFileSync(join(folder, 'keys.json'), JSON.stringify(newKeySet('k1')));
  writeFileSync(join(folder, 'key'), 'sk-provider-key\n', { mode: 0o600 });
  env = {
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: '127.0.0.1:1',
    AGENTRUN_RUNNER_KEYS_FILE: join(folder, 'keys.json'),
    AGENTRUN_MGR_URL: `${api.url}/agentrun`,
    AGENTRUN_INTERNAL_MGR_URL: api.url,
  };
});
afterAll(async () => {
  page.closeAllConnections();
  page.close();
  await Promise.all([api.stop(), other.stop()]);
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
});

function check(program: 'api' | 'worker', changes: Record<string, string> = {}): Promise<CheckResult[]> {
  const ofWorker = {
    AGENTRUN_DATA_DIR: join(folder, 'data'),
    AGENTRUN_PROVIDER_BASE_URL: 'http://127.0.0.1:9/v1',
    AGENTRUN_PROVIDER_KEY_FILE: join(folder, 'key'),
    AGENTRUN_MODEL: 'model',
  };
  return checkProgram(program, {
    file: process.execPath,
    args: [join(packageRoot(), 'dist', program, 'main.js')],
    env: childEnvironment({ ...env, ...(program === 'worker' ? ofWorker : {}), ...changes }),
  });
}
const wrongOf = (results: readonly CheckResult[]) =>
  results
    .filter(({ ok, severity }) => !ok && severity !== 'skipped')
    .map(({ name, variable }) => [name, variable]);
const skippedOf = (results: readonly CheckResult[]) =>
  results
    .filter(({ severity }) => severity === 'skipped')
    .map(({ name, variable, cure }) => [name, variable, cure]);
/** What is wrong in each of these checks, because no Temporal server runs: said once. */
const noTemporal = [['temporal', 'TEMPORAL_ADDRESS']];

describe('api --check', () => {
  it('finds nothing wrong but Temporal, which is named with its address', async () => {
    const results = await check('api');
    expect(wrongOf(results)).toEqual(noTemporal);
    expect(results.find(({ name }) => name === 'temporal')?.cure).toContain('127.0.0.1:1');
    expect(JSON.stringify(results)).not.toContain(env.DATABASE_URL);
    const cure = expect.stringContaining('start the Temporal server');
    expect(skippedOf(results)).toEqual([
      ['search attributes', 'TEMPORAL_ADDRESS', cure],
      ['task queues', 'TEMPORAL_ADDRESS', cure],
    ]);
    expect(results.filter(({ ok }) => ok).map(({ severity }) => severity)).not.toContain('error');
  });

  it('with a wrong password of Postgres names that alone; the addresses are not compared', async () => {
    const wrongPassword = new URL(env.DATABASE_URL ?? '');
    wrongPassword.password = 'wrong-one';
    const results = await check('api', { DATABASE_URL: wrongPassword.href });
    expect(wrongOf(results)).toEqual([['postgres', 'DATABASE_URL'], ...noTemporal]);
    const cure = expect.stringContaining('correct DATABASE_URL');
    expect(skippedOf(results)).toEqual(
      expect.arrayContaining([
        ['migrations', 'DATABASE_URL', cure],
        ['database clock', 'DATABASE_URL', cure],
        ['internal URL', 'DATABASE_URL', cure],
        ['public URL', 'DATABASE_URL', cure],
      ]),
    );
    expect(JSON.stringify(results)).not.toContain('wrong-one');
  });

  it.each<[string, () => Record<string, string>, string, string, string?]>([
    [
      'another service',
      () => ({ AGENTRUN_MGR_URL: pageUrl }),
      'public URL',
      'AGENTRUN_MGR_URL',
      'is not the AgentRun API',
    ],
    [
      'a path that nobody strips',
      () => ({ AGENTRUN_MGR_URL: `${api.url}/elsewhere` }),
      'public URL',
      'AGENTRUN_MGR_URL',
      'not below this path',
    ],
    ['another installation', () => ({ AGENTRUN_MGR_URL: other.url }), 'public URL', 'AGENTRUN_MGR_URL'],
    [
      'nobody',
      () => ({ AGENTRUN_INTERNAL_MGR_URL: 'http://127.0.0.1:1' }),
      'internal URL',
      'AGENTRUN_INTERNAL_MGR_URL',
    ],
    [
      'an internal URL with a path',
      () => ({ AGENTRUN_INTERNAL_MGR_URL: `${api.url}/agentrun` }),
      'settings',
      'AGENTRUN_INTERNAL_MGR_URL',
    ],
    ['a retired variable', () => ({ AGENTRUN_OLD: 'x' }), 'settings', 'AGENTRUN_OLD'],
    [
      'no keys',
      () => ({ AGENTRUN_RUNNER_KEYS_FILE: join(folder, 'none') }),
      'runner keys',
      'AGENTRUN_RUNNER_KEYS_FILE',
    ],
    [
      'a wrong port of Postgres',
      () => ({ DATABASE_URL: 'postgres://u:hunter2@127.0.0.1:1/db' }),
      'postgres',
      'DATABASE_URL',
    ],
  ])('names the setting that leads to %s', async (_name, changes, name, variable, said) => {
    const results = await check('api', changes());
    expect(wrongOf(results)).toContainEqual([name, variable]);
    expect(results.find((result) => !result.ok && result.name === name)?.message).toContain(said ?? '');
    expect(JSON.stringify(results)).not.toContain('hunter2');
  });

  it('names every setting that cannot be read at all, and looks at what the others lead to', async () => {
    const results = await check('api', { AGENTRUN_API_HOST: '0.0.0.0' });
    expect(wrongOf(results)).toEqual([['settings', 'AGENTRUN_API_TOKEN'], ...noTemporal]);
    const many = await check('api', { TEMPORAL_ADDRESS: 'nowhere', AGENTRUN_MGR_URL: 'ftp://h' });
    expect(wrongOf(many)).toEqual([
      ['settings', 'TEMPORAL_ADDRESS'],
      ['settings', 'AGENTRUN_MGR_URL'],
    ]);
    expect(many.filter(({ ok }) => ok).map(({ name }) => name)).toEqual([
      'postgres',
      'migrations',
      'database clock',
      'runner keys',
      'webhook key',
      'path prefix',
    ]);
  });
});

describe('worker --check', () => {
  it('finds nothing wrong but Temporal', async () => {
    expect(wrongOf(await check('worker'))).toEqual(noTemporal);
  });

  it('without its provider names what is to be set, and looks at the rest', async () => {
    const results = await check('worker', { AGENTRUN_MODEL: '', AGENTRUN_PROVIDER_KEY_FILE: '' });
    expect(wrongOf(results)).toEqual([
      ['settings', 'AGENTRUN_PROVIDER_KEY_FILE'],
      ['settings', 'AGENTRUN_MODEL'],
      ...noTemporal,
    ]);
    expect(results[0]?.cure).toBe('set AGENTRUN_PROVIDER_KEY_FILE');
    expect(results.find(({ name }) => name === 'URL for runners')?.ok).toBe(true);
    const without = await check('worker', { DATABASE_URL: '', AGENTRUN_RUNNER_KEYS_FILE: '' });
    expect(wrongOf(without)).toEqual([
      ['settings', 'AGENTRUN_RUNNER_KEYS_FILE'],
      ['settings', 'DATABASE_URL'],
      ...noTemporal,
    ]);
    expect(without[0]?.message).toBe('AGENTRUN_RUNNER_KEYS_FILE: is not set');
  });

  it('names the way of runners to the API, and a key that others may read', async () => {
    chmodSync(join(folder, 'key'), 0o644);
    const results = await check('worker', { AGENTRUN_INTERNAL_MGR_URL: pageUrl });
    chmodSync(join(folder, 'key'), 0o600);
    expect(wrongOf(results)).toEqual([
      ...noTemporal,
      ['provider key', 'AGENTRUN_PROVIDER_KEY_FILE'],
      ['URL for runners', 'AGENTRUN_INTERNAL_MGR_URL'],
    ]);
    expect(results.find(({ name }) => name === 'provider key')?.severity).toBe('warning');
  });
});

describe('agentrun doctor', () => {
  it('without a stack and without settings names what is missing, for each program', async () => {
    const child = spawn(
      process.execPath,
      [join(packageRoot(), 'dist', 'cli', 'main.js'), '--json', 'doctor'],
      {
        env: childEnvironment({ AGENTRUN_DATA_DIR: join(folder, 'nothing-here') }),
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    );
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    const code = await new Promise((resolve) => child.once('close', resolve));
    expect(code).toBe(1);
    const programs = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as CheckResult);
    expect(programs.map(({ program, variable }) => `${program} ${variable}`)).toEqual(
      expect.arrayContaining([
        'api AGENTRUN_RUNNER_KEYS_FILE',
        'worker AGENTRUN_RUNNER_KEYS_FILE',
        'command AGENTRUN_MGR_URL',
      ]),
    );
  });
});
