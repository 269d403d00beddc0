import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { idPrefixes } from '../../contract/ids.js';
import { queueTaskRecordSchema } from '../../contract/queue.js';
import { commandPageSchema, leaseAnswerSchema } from '../../contract/runners.js';
import { cancelObservationSchema } from '../../contract/runs.js';
import { newId } from '../../store/new-id.js';
import { finishTurn } from '../../store/turn-steps.js';
import { fakeGateway, startApi, type TestApi } from '../support/api.js';
import { newSessionId, owner, postEvents, type ServingRunner, send, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const cancelled = z.looseObject({ cancel: cancelObservationSchema });
const cancelRun = (runId: string, body: unknown = {}) =>
  api.data(cancelled, 'POST', `/api/v1/runs/${runId}/cancel`, { body });
const phases = (...names: string[]) => names.map((phase) => ({ type: 'backend_status', payload: { phase } }));
/** The runner's part of the ladder, from sequence `from` on. */
const emit = (runner: ServingRunner, from: number, ...names: string[]) =>
  postEvents(
    api,
    runner,
    phases(...names).map((event, index) => ({ seq: from + index, event })),
  );
const end = async (runId: string) => {
  await finishTurn(database.pool, runId, {
    terminalStatus: 'cancelled',
    failureKind: 'cancelled',
    failureMessage: null,
  });
  api.deps.notifier.notify('agentrun_run', runId);
};

describe('a cancel of a run', () => {
  it('answers what was observed: at once, while it goes on, and after it', async () => {
    const runner = await startTurn(api);
    const first = await cancelRun(runner.runId, { reason: 'wrong branch', deadlineMs: 5_000 });
    expect(first).toMatchObject({
      id: runner.runId,
      cancelReason: 'wrong branch',
      cancel: { requested: true, observed: ['cancel-requested'], runStatus: 'claimed' },
    });
    await emit(runner, 1, 'interrupt-sent', 'interrupt-answered', 'background-terminals-cleaned');
    expect((await cancelRun(runner.runId)).cancel.observed).toEqual([
      'cancel-requested',
      'interrupt-sent',
      'interrupt-answered',
      'background-terminals-cleaned',
    ]);
    await emit(runner, 4, 'process-group-killed', 'turn-cancelled');
    await end(runner.runId);
    expect((await cancelRun(runner.runId)).cancel).toEqual({
      requested: false,
      observed: [
        'cancel-requested',
        'interrupt-sent',
        'interrupt-answered',
        'background-terminals-cleaned',
        'process-group-killed',
        'turn-cancelled',
      ],
      runStatus: 'cancelled',
    });
  });

  it('waits for the end as long as it is told, and is woken by it', async () => {
    const runner = await startTurn(api);
    const startedAt = performance.now();
    const waiting = cancelRun(runner.runId, { waitMs: 20_000 });
    // The request is stored: the runner sees it.
    await api.data(
      commandPageSchema,
      'GET',
      `/api/v1/runs/${runner.runId}/commands?afterSeq=1&waitMs=10000`,
      {
        token: runner.runToken,
      },
    );
    await emit(runner, 1, 'turn-cancelled');
    await end(runner.runId);
    expect((await waiting).cancel).toEqual({
      requested: true,
      observed: ['cancel-requested', 'turn-cancelled'],
      runStatus: 'cancelled',
    });
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    const stuck = await startTurn(api);
    expect((await cancelRun(stuck.runId, { waitMs: 300 })).cancel.runStatus).toBe('claimed');
  });

  it('tells the runner how long it has, in the heartbeat and the long poll', async () => {
    const runner = await startTurn(api);
    await cancelRun(runner.runId, { deadlineMs: 4_000 });
    const page = await api.data(commandPageSchema, 'GET', `/api/v1/runs/${runner.runId}/commands`, {
      token: runner.runToken,
    });
    expect(page).toMatchObject({ cancelRequested: true, cancelDeadlineMs: 4_000, open: false });
    const beat = await api.data(leaseAnswerSchema, 'PATCH', `/api/v1/runs/${runner.runId}/lease`, {
      token: runner.runToken,
      body: { runnerId: runner.runnerId },
    });
    expect(beat).toMatchObject({ cancelRequested: true, cancelDeadlineMs: 4_000 });
  });

  it.each([
    [{ deadlineMs: 10 }, 'deadlineMs'],
    [{ waitMs: 60_000 }, 'waitMs'],
    [{ waitMs: '1' }, 'waitMs'],
    [{ wait: 1 }, 'wait'],
  ])('with %j is 400', async (body, field) => {
    const { runId } = await startTurn(api);
    const refused = await api.call('POST', `/api/v1/runs/${runId}/cancel`, { body });
    expect([refused.status, refused.body.message]).toEqual([400, expect.stringContaining(`${field}: `)]);
  });

  it('looks at the end of the log only, and at nothing before the request', async () => {
    const runner = await startTurn(api);
    // A park interrupts too.
    await emit(runner, 1, 'interrupt-sent', 'interrupt-answered');
    expect((await cancelRun(runner.runId)).cancel.observed).toEqual(['cancel-requested']);
  });

  it('never drops what waits: a steer that was not delivered and a queued turn come next', async () => {
    const runner = await startTurn(api);
    const steer = await send(api, runner.sessionId, 'and the tests');
    const queued = await send(api, runner.sessionId, 'then this', { whenBusy: 'queue' });
    await cancelRun(runner.runId);
    const late = await send(api, runner.sessionId, 'one more');
    expect(late).toMatchObject({ decision: 'turn', queued: true });
    await end(runner.runId);
    const found = await database.pool.query(
      'select state, steer_delivery from commands where command_id = $1',
      [steer.command.id],
    );
    expect(found.rows).toEqual([{ state: 'cancelled', steer_delivery: 'next-turn' }]);
    const waiting = await database.pool.query(
      'select status from runs where run_id = any($1) order by run_id',
      [[queued.run.id, late.run.id]],
    );
    expect(waiting.rows).toEqual([{ status: 'pending' }, { status: 'pending' }]);
  });
});

describe('a cancel of a command', () => {
  const cancel = (commandId: string, body: unknown = {}) =>
    api.call('POST', `/api/v1/commands/${commandId}/cancel`, { body });

  it('of a prompt is one of its run', async () => {
    const runner = await startTurn(api);
    expect((await cancel(runner.promptId, { reason: 'x' })).body.data).toMatchObject({
      id: runner.promptId,
      cancel: { requested: true, observed: ['cancel-requested'], runStatus: 'claimed' },
    });
  });

  it('of a steer takes it back, once', async () => {
    const runner = await startTurn(api);
    const steer = await send(api, runner.sessionId, 'and the tests');
    const first = await cancel(steer.command.id);
    expect(first.body.data).toMatchObject({
      state: 'cancelled',
      cancel: { requested: true, observed: [], runStatus: 'claimed' },
    });
    expect((await cancel(steer.command.id)).body.data).toMatchObject({ cancel: { requested: false } });
  });

  it('of an answer is refused: the agent may have acted on it', async () => {
    const runner = await startTurn(api);
    const requestId = newId(idPrefixes.agentRequest);
    const payload = {
      requestId,
      kind: 'command',
      itemId: null,
      summary: 's',
      command: null,
      cwd: null,
      reason: null,
      questions: [],
      fingerprint: 'f',
    };
    await postEvents(api, runner, [{ seq: 1, event: { type: 'approval_requested', payload } }]);
    const sent = await send(api, runner.sessionId, '', { answers: requestId, decision: 'approve' });
    const refused = await cancel(sent.command.id);
    expect([refused.status, refused.body.failureKind]).toEqual([409, 'conflict']);
  });
});

describe('a cancel of a session', () => {
  const control = (sessionId: string, body: Record<string, unknown> = {}) =>
    api.call('POST', `/api/v1/sessions/${sessionId}/control`, { body: { action: 'cancel', ...body } });

  it('is one of its active turn; without one it is 409', async () => {
    const runner = await startTurn(api);
    const waiting = control(runner.sessionId, { deadlineMs: 2_000, waitMs: 10_000 });
    await api.data(
      commandPageSchema,
      'GET',
      `/api/v1/runs/${runner.runId}/commands?afterSeq=1&waitMs=10000`,
      {
        token: runner.runToken,
      },
    );
    await end(runner.runId);
    expect((await waiting).body.data).toMatchObject({
      id: runner.promptId,
      cancel: { requested: true, observed: ['cancel-requested'], runStatus: 'cancelled' },
    });
    const idle = await control(runner.sessionId);
    expect([idle.status, idle.body.failureKind]).toEqual([409, 'conflict']);
  });
});

it('a message that interrupts leaves its request in the log too', async () => {
  const runner = await startTurn(api);
  await send(api, runner.sessionId, 'stop, do this', { whenBusy: 'interrupt' });
  expect((await cancelRun(runner.runId)).cancel).toMatchObject({
    requested: true,
    observed: ['cancel-requested'],
  });
});

describe('a cancel of a queue task', () => {
  const create = (on: TestApi) =>
    on.data(queueTaskRecordSchema, 'POST', '/api/v1/queue/tasks', { body: { ...owner, prompt: 'x' } });

  it('goes to its workflow, waits for its end, and says what its run shows', async () => {
    const runner = await startTurn(api);
    const asked: unknown[] = [];
    const finish = (taskId: string) =>
      database.pool.query(
        `update queue_tasks set state = 'cancelled', terminal_status = 'cancelled', attempts = 1, latest_run_id = $2 where task_id = $1`,
        [taskId, runner.runId],
      );
    const own = await startApi(database, {
      gateway: {
        ...fakeGateway(database.pool),
        cancelTask: async ({ taskId }, request) => {
          asked.push(request);
          await cancelRun(runner.runId);
          // As the workflow, which looks after its run some time later.
          setTimeout(() => void finish(taskId), 300);
          return { taskId, state: 'running', requested: true, runId: runner.runId };
        },
      },
    });
    try {
      const task = await create(own);
      const path = `/api/v1/queue/tasks/${task.id}/cancel`;
      const body = { reason: 'not needed', deadlineMs: 3_000, waitMs: 10_000 };
      expect(await own.data(cancelled, 'POST', path, { body })).toMatchObject({
        id: task.id,
        state: 'cancelled',
        cancel: { requested: true, observed: ['cancel-requested'], runStatus: 'claimed' },
      });
      expect(asked).toEqual([{ reason: 'not needed', deadlineMs: 3_000 }]);
      // One that has ended asks nobody.
      expect(await own.data(cancelled, 'POST', path, { body })).toMatchObject({
        cancel: { requested: false },
      });
      expect(asked).toHaveLength(1);
    } finally {
      await own.stop();
    }
  });

  it('that has no run yet has nothing observed; of another tenant it is 404', async () => {
    const task = await create(api);
    const path = `/api/v1/queue/tasks/${task.id}/cancel`;
    expect((await api.call('POST', path, { body: {} })).body.data).toMatchObject({
      id: task.id,
      cancel: { requested: true, observed: [], runStatus: null },
    });
    const foreign = await startApi(database, {
      apiTokens: [{ name: 'other', token: 'agr_other_0123456789', scopes: ['operate'], tenantId: 'other' }],
    });
    expect((await foreign.call('POST', path, { token: 'agr_other_0123456789', body: {} })).status).toBe(404);
    await foreign.stop();
  });
});

it('what has ended is answered as it is, also without a turn', async () => {
  const sent = await send(api, newSessionId(), 'x');
  await end(sent.run.id);
  expect((await cancelRun(sent.run.id)).cancel).toEqual({
    requested: false,
    observed: [],
    runStatus: 'cancelled',
  });
});
