import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { commandRecordSchema } from '../../contract/commands.js';
import { type RunRecord, runRecordSchema } from '../../contract/runs.js';
import { runnerJobStatusSchema } from '../../contract/sessions.js';
import type { RunnerJobPhase } from '../../contract/states.js';
import { adoptLauncher } from '../../store/adopt-launcher.js';
import { endAttempt } from '../../store/attempt-ends.js';
import { jobNameOf } from '../../store/attempts.js';
import { loadLaunchFacts, noteLaunched } from '../../store/launch-facts.js';
import { finishTurn } from '../../store/turn-steps.js';
import { apiTokens, attemptSettings } from '../support/api.js';
import { claim, newSessionId, owner, register, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const createRun = (sessionId = newSessionId()) =>
  api.data(runRecordSchema, 'POST', '/api/v1/runs', { body: { ...owner, sessionRef: { sessionId } } });
const prompt = (runId: string) =>
  api.data(commandRecordSchema, 'POST', `/api/v1/runs/${runId}/commands`, {
    body: { type: 'turn', payload: { prompt: 'go' } },
  });
const jobs = (runId: string) => `/api/v1/runs/${runId}/runner-jobs`;
const launch = (runId: string, body?: unknown) => api.call('POST', jobs(runId), { body });
const launched = (runId: string, body?: unknown) =>
  api.data(runnerJobStatusSchema, 'POST', jobs(runId), { body });
const getRun = (runId: string) => api.data(runRecordSchema, 'GET', `/api/v1/runs/${runId}`);
const refusal = async (answer: ReturnType<typeof launch>) => {
  const { status, body } = await answer;
  return [status, body.failureKind];
};

async function waitingRun(): Promise<{ run: RunRecord; promptId: string }> {
  const run = await createRun();
  return { run, promptId: (await prompt(run.id)).id };
}

describe('POST runner-jobs', () => {
  it('gives a waiting run the configured launcher and a job for its prompt; a repeat answers the same', async () => {
    const { run, promptId } = await waitingRun();
    expect(run.launcher).toBe('external');
    const job = await launched(run.id, { commandId: promptId });
    expect(job).toMatchObject({
      runId: run.id,
      commandId: promptId,
      attempt: 1,
      jobName: jobNameOf(run.id, 1),
      launcher: 'process',
      reused: false,
      phase: 'creating',
    });
    expect(await launched(run.id)).toEqual(job);
    expect((await getRun(run.id)).launcher).toBe('process');
    const token = await api.deps.runnerTokens.mintLaunch(
      { run: run.id, epoch: 1, job: job.jobName, jobId: job.id },
      60_000,
    );
    const { runnerId } = await register(api, token.token, job.id);
    await claim(api, run.id, token.token, runnerId);
    expect(await launched(run.id)).toMatchObject({ id: job.id, phase: 'running', runnerId });
  });

  it('makes one job of many requests at once', async () => {
    const { run } = await waitingRun();
    const made = await Promise.all(Array.from({ length: 20 }, () => launched(run.id)));
    expect(new Set(made.map(({ id }) => id)).size).toBe(1);
  });

  it('begins the time to claim anew', async () => {
    const { run } = await waitingRun();
    await database.pool.query(
      `update attempts set claim_deadline_at = now() - interval '1 minute' where run_id = $1`,
      [run.id],
    );
    await launched(run.id);
    const found = await database.pool.query<{ ahead: boolean }>(
      `select claim_deadline_at > now() + interval '4 minutes' as ahead from attempts where run_id = $1`,
      [run.id],
    );
    expect(found.rows).toEqual([{ ahead: true }]);
  });

  it('takes the attempt from a runner that registered elsewhere and did not claim', async () => {
    const { run } = await waitingRun();
    await database.pool.query(
      `insert into runners (job_name, tenant_id, session_id, backend_profile, launcher, fingerprint, state, runner_id, idle_timeout_ms, expires_at)
       values ($1, 'acme', $2, 'codex', 'external', 'external', 'launching', 'elsewhere', 0, now() + interval '1 day')`,
      [jobNameOf(run.id, 1), run.sessionId],
    );
    await launched(run.id);
    const claimed = await api.call('POST', `/api/v1/runs/${run.id}/claim`, {
      body: { runnerId: 'elsewhere' },
    });
    expect(claimed.status).toBe(403);
  });

  it('waits for a runner that registers elsewhere at the same moment, and takes the attempt from it', async () => {
    const { run } = await waitingRun();
    const elsewhere = await database.pool.connect();
    await elsewhere.query('begin');
    await elsewhere.query('select 1 from runs where run_id = $1 for no key update', [run.id]);
    const claimed = api.call('POST', `/api/v1/runs/${run.id}/claim`, { body: { runnerId: 'mine' } });
    const waits = async (count: number) => {
      const found = await database.pool.query(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query ilike '%for no key update%'`,
      );
      expect(found.rows).toHaveLength(count);
    };
    await expect.poll(() => waits(1).then(() => true)).toBe(true);
    const given = launch(run.id);
    await expect.poll(() => waits(2).then(() => true)).toBe(true);
    await elsewhere.query('rollback');
    elsewhere.release();
    const answers = [(await given).status, (await claimed).status];
    // Between registering and claiming somebody else may come.
    expect([
      [200, 409],
      [409, 200],
    ]).toContainEqual(answers);
  });

  it('lists the attempt of a runner that was started elsewhere, and gives it no other', async () => {
    const { run, promptId } = await waitingRun();
    const listed = async () => {
      const { body } = await api.call('GET', jobs(run.id));
      return z.object({ items: z.array(runnerJobStatusSchema) }).parse(body.data).items;
    };
    expect(await listed()).toEqual([]);
    const claimed = await api.call('POST', `/api/v1/runs/${run.id}/claim`, { body: { runnerId: 'mine' } });
    await api.call('POST', `/api/v1/runs/${run.id}/claim`, { body: { runnerId: 'mine' } });
    const expected = {
      commandId: promptId,
      jobName: jobNameOf(run.id, 1),
      launcher: 'external',
      reused: false,
      runnerId: 'mine',
    };
    expect(await listed()).toMatchObject([{ ...expected, phase: 'running' }]);
    expect(await refusal(launch(run.id))).toEqual([409, 'conflict']);
    const { runToken } = z.object({ runToken: z.string() }).parse(claimed.body.data);
    await api.call('PATCH', `/api/v1/runs/${run.id}/status`, {
      token: runToken,
      body: { terminalStatus: 'completed' },
    });
    expect(await listed()).toMatchObject([{ ...expected, phase: 'succeeded', outcome: 'completed' }]);
  });

  it('says why a run gets none', async () => {
    const bare = await createRun();
    expect(await refusal(launch(bare.id))).toEqual([409, 'conflict']);
    const { run, promptId } = await waitingRun();
    const other = await waitingRun();
    expect(await refusal(launch(run.id, { commandId: other.promptId }))).toEqual([409, 'conflict']);
    expect(await refusal(launch(run.id, { commandId: 'nonsense' }))).toEqual([400, 'schema-invalid']);
    expect(await refusal(launch(run.id, { image: 'x' }))).toEqual([400, 'schema-invalid']);
    const behind = await createRun(run.sessionId);
    await prompt(behind.id);
    expect(await refusal(launch(behind.id))).toEqual([409, 'session-busy']);
    await api.call('POST', `/api/v1/runs/${run.id}/claim`, { body: { runnerId: 'mine' } });
    expect(await refusal(launch(run.id, { commandId: promptId }))).toEqual([409, 'conflict']);
    await finishTurn(database.pool, run.id, {
      terminalStatus: 'failed',
      failureKind: 'hard-timeout',
      failureMessage: null,
    });
    expect(await refusal(launch(run.id))).toEqual([409, 'conflict']);
    expect(
      await adoptLauncher(database.pool, { ...attemptSettings, launcher: 'external' }, other.run.id),
    ).toMatchObject({
      kind: 'refused',
      failureKind: 'conflict',
    });
    expect(await refusal(launch('run_00000000000000000000000000'))).toEqual([404, 'not-found']);
    const foreign = apiTokens.find(({ tenantId }) => tenantId === 'acme');
    await database.pool.query(`update runs set tenant_id = 'other' where run_id = $1`, [other.run.id]);
    expect(foreign).toBeDefined();
    const asAcme = await api.call('POST', jobs(other.run.id), { token: 'agr_acme_0123456789abcdef' });
    expect(asAcme.status).toBe(404);
  });

  it('answers the job of a run that has had its runner from the start', async () => {
    const runner = await startTurn(api);
    expect(await launched(runner.runId)).toMatchObject({ id: runner.jobId, phase: 'running' });
  });
});

describe('the recorded phase of a runner job', () => {
  const phaseOf = async (jobId: string): Promise<unknown> => {
    const found = await database.pool.query<{ phase: string }>(
      'select phase from runner_jobs where job_id = $1',
      [jobId],
    );
    return found.rows[0]?.phase;
  };
  const outcome = (terminalStatus: string) => async (runner: Awaited<ReturnType<typeof startTurn>>) => {
    const answer = await api.call('PATCH', `/api/v1/runs/${runner.runId}/status`, {
      token: runner.runToken,
      body: { terminalStatus },
    });
    expect(answer.status).toBe(200);
  };
  const end =
    (failureKind: 'runner-lost' | 'idle-timeout' | null) =>
    async (runner: Awaited<ReturnType<typeof startTurn>>) => {
      await endAttempt(database.pool, {
        runId: runner.runId,
        epoch: 1,
        failureKind,
        reason: 'it is over',
        counted: failureKind !== null,
        compactNext: false,
        retryInMs: failureKind === null ? null : 0,
        park: failureKind === null ? { reason: 'provider-limit', untilMs: null, delayMs: 1_000 } : null,
      });
    };
  const finish =
    (
      terminalStatus: 'failed' | 'cancelled',
      failureKind: 'runner-lost' | 'cancelled' | 'hard-timeout',
      runnerDeleted = false,
    ) =>
    async (runner: Awaited<ReturnType<typeof startTurn>>) => {
      await finishTurn(database.pool, runner.runId, {
        terminalStatus,
        failureKind,
        failureMessage: null,
        runnerDeleted,
      });
    };

  it('follows the launch', async () => {
    const { run } = await waitingRun();
    const job = await launched(run.id);
    expect(await phaseOf(job.id)).toBe('creating');
    const facts = await loadLaunchFacts(database.pool, run.id, 1);
    if (facts === undefined) throw new Error('the job has launch facts');
    await noteLaunched(database.pool, facts);
    expect(await phaseOf(job.id)).toBe('starting');
  });

  it.each<[string, ((runner: Awaited<ReturnType<typeof startTurn>>) => Promise<void>)[], RunnerJobPhase]>([
    ['claimed', [], 'running'],
    ['its runner said completed', [outcome('completed')], 'succeeded'],
    ['its runner said failed', [outcome('failed')], 'failed'],
    ['its runner was lost', [end('runner-lost')], 'lost'],
    [
      'lost, and then its word that it completed came',
      [end('runner-lost'), outcome('completed')],
      'succeeded',
    ],
    ['lost, and then its word that it failed came', [end('runner-lost'), outcome('failed')], 'lost'],
    ['given up', [end('idle-timeout')], 'failed'],
    ['parked', [end(null)], 'deleted'],
    ['the run ended with its runner lost', [finish('failed', 'runner-lost')], 'lost'],
    ['the run ended otherwise', [finish('failed', 'hard-timeout')], 'failed'],
    ['a cancel ended the runner', [finish('cancelled', 'cancelled', true)], 'deleted'],
    [
      'what its runner said stays at the end of the run',
      [outcome('failed'), finish('failed', 'runner-lost')],
      'failed',
    ],
  ])('%s', async (_row, steps, expected) => {
    const runner = await startTurn(api);
    for (const play of steps) await play(runner);
    expect(await phaseOf(runner.jobId)).toBe(expected);
    expect(
      await api.data(runnerJobStatusSchema, 'GET', `${jobs(runner.runId)}/${runner.jobId}`),
    ).toMatchObject({
      phase: expected,
    });
  });
});
