import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { finishTurn } from '../../store/turn-steps.js';
import { adminToken } from '../support/api.js';
import { eventually } from '../support/local-stack.js';
import { messageLines, newSessionId, owner, postEvents, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { api, database } = await useApi();
const dataDir = mkdtempSync(join(tmpdir(), 'agentrun-watch-'));
const running = new Set<ChildProcess>();
afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
  rmSync(dataDir, { recursive: true, force: true });
});

const finish = (runId: string) =>
  finishTurn(database.pool, runId, {
    terminalStatus: 'failed',
    failureKind: 'provider-auth',
    failureMessage: 'no key',
  });
const noted = (sessionId: string) => join(dataDir, 'cursors', `${sessionId}.json`);

/** The command as a program, with what it has said so far. */
function agentrun(args: readonly string[], url = api.url) {
  const child = spawn(process.execPath, [join(packageRoot(), 'dist', 'cli', 'main.js'), ...args], {
    env: childEnvironment({
      AGENTRUN_MGR_URL: url,
      AGENTRUN_API_TOKEN: adminToken,
      AGENTRUN_DATA_DIR: dataDir,
    }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  const said = { out: '', err: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said.out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said.err += text;
  });
  const ended = once(child, 'close').then(([code]: unknown[]) => {
    running.delete(child);
    return { code, ...said };
  });
  const shows = (text: string) =>
    eventually(text, () => (said.out.includes(text) || said.err.includes(text) ? true : undefined));
  return { child, ended, shows };
}
const run = (...args: string[]) => agentrun(args).ended;

describe('watch', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)(
    'ended by %s says that the turn goes on, with exit code %d',
    async (signal, code) => {
      const { sessionId } = await startTurn(api);
      const watch = agentrun(['watch', sessionId]);
      await watch.shows('attempt 1 started');
      watch.child.kill(signal);
      expect(await watch.ended).toMatchObject({
        code,
        err: `the turn goes on: agentrun watch ${sessionId}\n`,
      });
    },
    60_000,
  );

  it('of a turn that has failed says so, also the second time and with nothing left to show', async () => {
    const { sessionId, runId } = await startTurn(api);
    await finish(runId);
    const end = '■ turn failed (provider-auth: no key)';
    for (const args of [[], [], ['--resume'], ['--resume']]) {
      const { code, out } = await run('watch', sessionId, ...args);
      expect([code, out]).toEqual([1, expect.stringMatching(/attempt 1 started\n■ turn failed/)]);
    }
    expect(await run('watch', sessionId, '--after', '1.2')).toMatchObject({
      code: 1,
      out: expect.stringContaining(end),
    });
    await api.call('POST', `/api/v1/sessions/${sessionId}/archive`);
    expect(await run('watch', sessionId, '--after', '1.2')).toMatchObject({
      code: 1,
      out: expect.stringContaining(end),
    });
  }, 60_000);

  it('of a session without turns is no success', async () => {
    const sessionId = newSessionId();
    await api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId } });
    expect(await run('watch', sessionId)).toMatchObject({
      code: 1,
      err: expect.stringContaining('has no turn yet'),
    });
  }, 60_000);

  it('into a pipe notes its place only with --resume, and goes on there, to the totals', async () => {
    const runner = await startTurn(api);
    const { sessionId, runId } = runner;
    await postEvents(api, runner, messageLines(1, 1));
    for (const args of [[], ['--resume']]) {
      const watch = agentrun(['watch', sessionId, ...args]);
      await watch.shows('agent>');
      watch.child.kill('SIGKILL');
      await watch.ended;
      if (args.length === 0) expect(() => readFileSync(noted(sessionId))).toThrow('ENOENT');
    }
    await database.pool.query("update runs set started_at = now() - interval '1 minute' where run_id = $1", [
      runId,
    ]);
    await finish(runId);
    const { out, err } = await run('watch', sessionId, '--resume');
    expect(err).toBe('going on after 1.2 (--from-start shows the whole turn)\n');
    expect(out).toBe('■ turn failed (provider-auth: no key)\n  1 min 0 s\n');
    expect(() => readFileSync(noted(sessionId))).toThrow('ENOENT');
    const printed = await run('output', sessionId);
    expect(printed.out).toMatch(/\n■ turn failed \(provider-auth: no key\), 1 min 0 s\n$/);
  }, 60_000);

  it.each([
    ['ahead of the log', 1_000],
    ['of a run that is gone', 1],
  ])(
    'begins anew when the place that it noted is %s',
    async (_name, seq) => {
      const { sessionId, runId } = await startTurn(api);
      await finish(runId);
      mkdirSync(join(dataDir, 'cursors'), { recursive: true });
      const missing = `run_${'0'.repeat(26)}`;
      writeFileSync(noted(sessionId), JSON.stringify({ runId: seq === 1 ? missing : runId, seq }));
      const { code, out, err } = await run('watch', sessionId, '--resume');
      expect(err).toContain('is not there any more: from the beginning of the turn');
      expect([code, out]).toEqual([1, expect.stringContaining('attempt 1 started')]);
    },
    60_000,
  );

  it.each([
    [['watch', 's', '--after', '1.2', '--from-start'], '--after, --from-start: give one of them'],
    [['feed', '--after', 'x', '--latest'], '--after, --latest: give one of them'],
  ])('%j is refused', async (args, message) => {
    expect(await run(...args)).toMatchObject({ code: 2, err: `${message}\n` });
  });
});

describe('an API that was never there', () => {
  it.each([['watch', 's'], ['watch', 's', '--after', '1.2'], ['feed'], ['output', 's']])(
    '%s %s %s ends at once with its address, said once',
    async (...args) => {
      const { code, err } = await agentrun(args, 'http://127.0.0.1:1').ended;
      expect(code).toBe(5);
      expect(err).toMatch(
        /^GET \S+: no connection to the API; AGENTRUN_MGR_URL is http:\/\/127\.0\.0\.1:1\/?\n$/,
      );
    },
    60_000,
  );
});

it('feed says where it is live', async () => {
  await startTurn(api);
  const feed = agentrun(['feed']);
  await feed.shows('what comes now happens now');
  feed.child.kill('SIGINT');
  const { code, out, err } = await feed.ended;
  expect([code, err]).toEqual([0, 'what comes now happens now\n']);
  expect(out).toContain('attempt 1 started');
}, 60_000);
