import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { runResultSchema } from '../../contract/runs.js';
import { runnerJobStatusSchema, sessionViewSchema } from '../../contract/sessions.js';
import { queueSupervisorSchema } from '../../contract/supervisor.js';
import { activeSessionOf, queueSupervisor, supervisedRunOf } from '../../domain/supervisor-view.js';
import { endAttempt } from '../../store/attempt-ends.js';
import { getRunResult } from '../../store/run-results.js';
import { getSessionSummary } from '../../store/sessions.js';
import { finishTurn } from '../../store/turn-steps.js';
import { messageLines, newSessionId, owner, postEvents, send, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const resultOf = (runId: string) => api.data(runResultSchema, 'GET', `/api/v1/runs/${runId}/result`);
const view = (sessionId: string) => api.data(sessionViewSchema, 'GET', `/api/v1/sessions/${sessionId}`);

/** A request of the agent that waits, as the events of a runner store it. */
async function ask(runId: string, requestId = 'req_00000000000000000000000001'): Promise<void> {
  await database.pool.query(
    `insert into agent_requests (request_id, tenant_id, session_id, run_id, epoch, kind, fingerprint, request)
     select $2, tenant_id, session_id, run_id, current_epoch, 'command', 'f', '{"summary": "run make?"}' from runs where run_id = $1`,
    [runId, requestId],
  );
  await database.pool.query('update runs set paused_since = now() where run_id = $1', [runId]);
}

describe('GET result', () => {
  it('tells lease, budget, activity, steer and what to do of a running turn', async () => {
    const runner = await startTurn(api);
    await postEvents(api, runner, messageLines(1, 3));
    const steer = await send(api, runner.sessionId, 'also this');
    const result = await resultOf(runner.runId);
    expect(result).toMatchObject({
      finalMessage: 'message 3',
      commandId: runner.promptId,
      terminalClassification: { category: 'not-terminal', confidence: 'high', providerInterruption: 'no' },
      steerDelivery: { commandId: steer.command.id, delivery: 'pending' },
      liveness: {
        phase: 'claimed',
        lastActivity: { activityKind: 'message', summary: 'message 3', sourceSeq: result.lastSeq },
        timeoutBudget: { state: 'ok', timeoutMs: expect.any(Number), source: 'execution-policy' },
        lease: { claimedBy: runner.runnerId, leaseExpired: false },
      },
    });
    expect(result.liveness.terminalClassification).toEqual(result.terminalClassification);
    expect(result.liveness.recoveryActions.map(({ action }) => action)).toEqual(['wait', 'events', 'cancel']);
    expect(result.liveness.timeoutBudget.remainingMs).toBeGreaterThan(0);
    const path = `/api/v1/runs/${runner.runId}/commands/${steer.command.id}/result`;
    expect((await api.data(runResultSchema, 'GET', path)).commandId).toBe(steer.command.id);
  });

  it('shows a lost lease as a phase, and as a loss once the process is known to be gone', async () => {
    const runner = await startTurn(api);
    await database.pool.query(`update leases set expires_at = now() - interval '5 s' where run_id = $1`, [
      runner.runId,
    ]);
    const words = async () => {
      const { liveness, terminalClassification: of } = await resultOf(runner.runId);
      return [liveness.phase, liveness.lease.leaseExpired, of.category, of.confidence];
    };
    expect(await words()).toEqual(['lease-expired', true, 'runner-lost', 'low']);
    await database.pool.query(`update runners set state = 'gone' where job_name = $1`, [runner.jobName]);
    expect(await words()).toEqual(['lease-expired', true, 'runner-lost', 'high']);
  });

  it('takes the provider’s part from the outcome of the attempt', async () => {
    const runner = await startTurn(api);
    const provider = {
      evidence: 'both',
      status: 401,
      errorCode: 'invalid_api_key',
      agentErrorInfo: 'unauthorized',
      resetAt: null,
    };
    const outcome = {
      terminalStatus: 'failed',
      failureKind: 'provider-auth',
      failureMessage: 'no',
      provider,
    };
    await database.pool.query(
      `update attempts set outcome = 'failed', outcome_body = $2, outcome_at = now() where run_id = $1`,
      [runner.runId, JSON.stringify(outcome)],
    );
    expect((await resultOf(runner.runId)).liveness.phase).toBe('finishing');
    await finishTurn(database.pool, runner.runId, {
      terminalStatus: 'failed',
      failureKind: 'provider-auth',
      failureMessage: 'no',
    });
    const result = await resultOf(runner.runId);
    expect(result.terminalClassification).toMatchObject({
      category: 'provider-failure',
      confidence: 'high',
      providerEvidence: 'both',
      providerInterruption: 'yes',
      providerInterruptionReason: expect.stringContaining('status 401'),
    });
    expect(result.diagnosis).toMatchObject({ likelyCause: 'provider-auth' });
  });
});

describe('GET session', () => {
  it('has a supervisor object once it has a run, with run and command of one turn', async () => {
    const sessionId = newSessionId();
    await api.call('POST', '/api/v1/sessions', { body: { ...owner, sessionId } });
    expect(await view(sessionId)).not.toHaveProperty('supervisor');
    const runner = await startTurn(api, 'x', sessionId);
    const { liveness, supervisor } = await view(sessionId);
    expect(supervisor).toMatchObject({
      sessionId,
      runId: runner.runId,
      commandId: runner.promptId,
      activeRunId: runner.runId,
      executionState: 'starting',
      attentionState: 'active-session',
      active: true,
      phase: 'claimed',
      leaseExpired: false,
      terminalClassification: { category: 'not-terminal' },
      valuesPrinted: false,
    });
    expect(supervisor?.liveness.phase).toBe(liveness?.phase);
    expect(supervisor).not.toHaveProperty('steerDelivery');
    await send(api, sessionId, 'steer');
    expect((await view(sessionId)).supervisor?.steerDelivery).toMatchObject({ delivery: 'pending' });
  });

  it('waits for a person while its agent asks', async () => {
    const runner = await startTurn(api);
    await ask(runner.runId);
    const shown = await view(runner.sessionId);
    expect(shown).toMatchObject({
      executionState: 'waiting',
      attentionState: 'needs-input',
      supervisor: {
        phase: 'waiting',
        liveness: { pendingRequest: { summary: 'run make?', state: 'pending' } },
      },
    });
    expect(shown.supervisor?.timeoutBudget.state).toBe('paused');
    expect(shown.supervisor?.recoveryActions.map(({ action }) => action)).toEqual(['answer', 'cancel']);
    await database.pool.query(`update agent_requests set state = 'denied' where run_id = $1`, [runner.runId]);
    expect((await view(runner.sessionId)).executionState).toBe('starting');
  });
});

describe('the supervisor of a queue task', () => {
  it('is about its session’s active turn, else about its latest attempt', async () => {
    const runner = await startTurn(api);
    const latest = { runId: runner.runId, commandId: runner.promptId };
    const supervise = async () => {
      const active = activeSessionOf(await getSessionSummary(database.pool, runner.sessionId, 'cli'));
      const runId = supervisedRunOf(latest, active) ?? '';
      const result = await getRunResult(database.pool, runId);
      return queueSupervisorSchema.parse(queueSupervisor(latest, active, result));
    };
    expect(await supervise()).toMatchObject({
      source: 'active-session',
      runId: runner.runId,
      attemptRunId: runner.runId,
      active: true,
      activeSession: { sessionId: runner.sessionId, active: true },
    });
    await finishTurn(database.pool, runner.runId, {
      terminalStatus: 'completed',
      failureKind: null,
      failureMessage: null,
    });
    expect(await supervise()).toMatchObject({
      source: 'latest-attempt',
      activeSession: null,
      active: false,
      phase: 'terminal',
    });
    expect(supervisedRunOf(null, null)).toBeNull();
  });
});

describe('runner jobs', () => {
  const page = z.object({ items: z.array(runnerJobStatusSchema), count: z.number(), lastSeq: z.number() });

  it('tell how each attempt of a run stands', async () => {
    const runner = await startTurn(api);
    const path = `/api/v1/runs/${runner.runId}/runner-jobs`;
    const list = () => api.data(page, 'GET', path);
    expect(await list()).toMatchObject({
      count: 1,
      lastSeq: 1,
      items: [
        {
          id: runner.jobId,
          phase: 'running',
          attempt: 1,
          runnerId: runner.runnerId,
          outcome: null,
          counted: true,
        },
      ],
    });
    const one = (jobId: string) => api.call('GET', `${path}/${jobId}`);
    expect((await one(runner.jobId)).body.data).toMatchObject({ id: runner.jobId, phase: 'running' });
    expect((await one('job_00000000000000000000000000')).status).toBe(404);
    await endAttempt(database.pool, {
      runId: runner.runId,
      epoch: 1,
      failureKind: 'runner-lost',
      reason: 'the runner process ended',
      counted: true,
      compactNext: false,
      retryInMs: 0,
      park: null,
    });
    expect((await list()).items).toMatchObject([{ phase: 'lost', failureKind: 'runner-lost' }]);
  });
});
