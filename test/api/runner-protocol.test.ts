import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { eventPageSchema } from '../../contract/events.js';
import {
  commandPageSchema,
  leaseAnswerSchema,
  nextAnswerSchema,
  outcomeAnswerSchema,
} from '../../contract/runners.js';
import { runRecordSchema, runResultSchema } from '../../contract/runs.js';
import { jobNameOf } from '../../store/attempts.js';
import { finishTurn, requestCancel, writeAttempt } from '../../store/turn-steps.js';
import { attemptSettings } from '../support/api.js';
import {
  claim,
  launchTokenOf,
  messageLines,
  newSessionId,
  postEvents,
  register,
  type ServingRunner,
  send,
  startTurn,
} from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const eventsOf = (runId: string) =>
  api.data(eventPageSchema, 'GET', `/api/v1/runs/${runId}/events?limit=1000`);
const heartbeat = (runner: ServingRunner, token = runner.runToken) =>
  api.call('PATCH', `/api/v1/runs/${runner.runId}/lease`, {
    token,
    body: {
      runnerId: runner.runnerId,
      leaseMs: 30_000,
      progress: { phase: 'turn', lastEventAt: new Date().toISOString(), notifications: 3 },
    },
  });
const finish = (runner: ServingRunner, body: Record<string, unknown>, token = runner.runToken) =>
  api.call('PATCH', `/api/v1/runs/${runner.runId}/status`, { token, body });
const ack = (runner: ServingRunner, commandId: string) =>
  api.call('POST', `/api/v1/commands/${commandId}/ack`, { token: runner.runToken });
const next = (runner: ServingRunner, waitMs = 0) =>
  api.data(nextAnswerSchema, 'GET', `/api/v1/runners/${runner.runnerId}/next?waitMs=${waitMs}`, {
    token: runner.runnerToken,
  });
const failureOf = (answer: { status: number; body: Record<string, unknown> }) => [
  answer.status,
  answer.body.failureKind,
];

describe('register and claim', () => {
  it('belong to the first runner instance; its repeats answer the same', async () => {
    const sent = await send(api, newSessionId(), 'hello');
    const launch = await launchTokenOf(api, sent);
    const jobId = sent.runnerJob?.id ?? '';
    const first = await register(api, launch, jobId, 'instance-1');
    expect((await register(api, launch, jobId, 'instance-1')).runnerId).toBe(first.runnerId);
    const other = await api.call('POST', '/api/v1/runners/register', {
      token: launch,
      body: {
        jobId,
        backend: 'codex',
        version: '1',
        runnerId: 'instance-2',
        capabilities: {
          steer: true,
          interrupt: true,
          resume: 'none',
          approvals: false,
          usage: 'none',
          messageIds: true,
          diff: true,
        },
      },
    });
    expect(failureOf(other)).toEqual([409, 'fenced']);

    const assignment = await claim(api, sent.run.id, launch, first.runnerId);
    expect(assignment).toMatchObject({
      epoch: 1,
      threadId: null,
      leaseMs: 60_000,
      heartbeatIntervalMs: 20_000,
      run: { id: sent.run.id, status: 'claimed', claimedBy: 'instance-1' },
      commands: [{ id: sent.command.id, type: 'turn', seq: 1, payload: { prompt: 'hello' } }],
    });
    const again = await claim(api, sent.run.id, launch, first.runnerId);
    expect(again.commands).toEqual(assignment.commands);
    const stolen = await api.call('POST', `/api/v1/runs/${sent.run.id}/claim`, {
      token: launch,
      body: { runnerId: 'instance-2' },
    });
    expect(failureOf(stolen)).toEqual([409, 'fenced']);
    const started = (await eventsOf(sent.run.id)).items.filter((event) => event.type === 'attempt_started');
    expect(started.map((event) => event.payload)).toEqual([
      { attempt: 1, runnerId: 'instance-1', mode: 'start', reused: false },
    ]);
  });

  it('give the attempt to one of many that claim at once', async () => {
    const sent = await send(api, newSessionId(), 'hello');
    const launch = await launchTokenOf(api, sent);
    await register(api, launch, sent.runnerJob?.id ?? '', `${sent.run.id}-a`);
    const answers = await Promise.all(
      ['a', 'b', 'a', 'c', 'a'].map((name) =>
        api.call('POST', `/api/v1/runs/${sent.run.id}/claim`, {
          token: launch,
          body: { runnerId: `${sent.run.id}-${name}` },
        }),
      ),
    );
    expect(answers.map((answer) => answer.status)).toEqual([200, 409, 200, 409, 200]);
    expect(
      (await eventsOf(sent.run.id)).items.filter((event) => event.type === 'attempt_started'),
    ).toHaveLength(1);
  });

  it('are fenced after the claim deadline, for an old attempt, and after the end', async () => {
    const sent = await send(api, newSessionId(), 'hello');
    const launch = await launchTokenOf(api, sent);
    const { runnerId } = await register(api, launch, sent.runnerJob?.id ?? '');
    const attempt = () =>
      api.call('POST', `/api/v1/runs/${sent.run.id}/claim`, { token: launch, body: { runnerId } });
    await database.pool.query(
      `update attempts set claim_deadline_at = now() - interval '1 second' where run_id = $1`,
      [sent.run.id],
    );
    expect((await attempt()).body.message).toContain('the claim deadline has passed');
    await writeAttempt(database.pool, attemptSettings, sent.run.id, 2);
    expect((await attempt()).body.message).toContain('was replaced by attempt 2');
    await finishTurn(database.pool, sent.run.id, {
      terminalStatus: 'failed',
      failureKind: 'runner-lost',
      failureMessage: null,
    });
    expect((await attempt()).body.message).toContain('has ended');
  });

  it('refuse a token of another run or another kind', async () => {
    const runner = await startTurn(api);
    const other = await startTurn(api);
    expect((await heartbeat(runner, other.runToken)).status).toBe(403);
    expect(failureOf(await heartbeat(runner, runner.launchToken))).toEqual([401, 'unauthorized']);
    expect(
      (await api.call('GET', `/api/v1/runners/${other.runnerId}/next`, { token: runner.runnerToken })).status,
    ).toBe(403);
    expect(
      (await api.call('GET', `/api/v1/runners/${runner.runnerId}/next`, { token: runner.runToken })).status,
    ).toBe(401);
    expect((await finish(runner, { terminalStatus: 'completed' }, `${runner.runToken}x`)).status).toBe(401);
  });

  it('with an API token serve a run whose launcher is external', async () => {
    const run = await api.data(runRecordSchema, 'POST', '/api/v1/runs', {
      body: { tenantId: 'acme', projectId: 'web' },
    });
    expect([run.status, run.launcher]).toEqual(['pending', 'external']);
    const created = await api.call('POST', `/api/v1/runs/${run.id}/commands`, {
      body: { type: 'turn', payload: { prompt: 'outside' } },
    });
    expect(created.status).toBe(200);
    const claimed = await api.call('POST', `/api/v1/runs/${run.id}/claim`, {
      body: { runnerId: 'my runner', leaseMs: 5_000 },
    });
    expect(claimed.body.data).toMatchObject({
      epoch: 1,
      commands: [{ type: 'turn', payload: { prompt: 'outside' } }],
    });
    const event = await api.call('POST', `/api/v1/runs/${run.id}/events`, {
      body: { payload: { phase: 'here' } },
    });
    expect(event.body.data).toMatchObject({
      type: 'backend_status',
      epoch: 1,
      payload: { phase: 'here' },
    });
    const done = await api.call('PATCH', `/api/v1/runs/${run.id}/status`, {
      body: { terminalStatus: 'completed' },
    });
    expect(done.body.data).toMatchObject({ runnerState: 'closing' });
    // Nobody here sees its process end.
    const runners = await database.pool.query('select state from runners where runner_id = $1', [
      'my runner',
    ]);
    expect(runners.rows).toEqual([{ state: 'gone' }]);
    const ours = await startTurn(api);
    expect(
      (
        await api.call('PATCH', `/api/v1/runs/${ours.runId}/status`, {
          body: { terminalStatus: 'completed' },
        })
      ).status,
    ).toBe(403);
  });
});

describe('heartbeats', () => {
  it('renew the lease, answer what is pending, and bring a fresh token', async () => {
    const runner = await startTurn(api);
    await postEvents(api, runner, messageLines(1, 3));
    const beat = leaseAnswerSchema.parse((await heartbeat(runner)).body.data);
    expect(beat).toMatchObject({
      epoch: 1,
      leaseMs: 30_000,
      cancelRequested: false,
      pendingCommands: 1,
      lastAcceptedSeq: 3,
    });
    expect(beat.nextHeartbeatMs).toBe(10_000);
    expect((await heartbeat(runner, beat.runToken)).status).toBe(200);
    await requestCancel(database.pool, runner.runId, 'enough');
    expect((await heartbeat(runner)).body.data).toMatchObject({
      cancelRequested: true,
      cancelReason: 'enough',
    });
  });

  it('work with the runner token after an outage, and are fenced with an old attempt', async () => {
    const runner = await startTurn(api);
    expect((await heartbeat(runner, runner.runnerToken)).status).toBe(200);
    await writeAttempt(database.pool, attemptSettings, runner.runId, 2);
    for (const token of [runner.runToken, runner.runnerToken]) {
      expect(failureOf(await heartbeat(runner, token))).toEqual([409, 'fenced']);
    }
    expect(failureOf(await ack(runner, runner.promptId))).toEqual([409, 'fenced']);
    expect(failureOf(await finish(runner, { terminalStatus: 'completed' }))).toEqual([409, 'fenced']);
    expect(
      (await api.call('GET', `/api/v1/runs/${runner.runId}/commands`, { token: runner.runToken })).status,
    ).toBe(409);
  });

  it('count progress only when the agent did something', async () => {
    const runner = await startTurn(api);
    const beat = (lastEventAt: string) =>
      api.call('PATCH', `/api/v1/runs/${runner.runId}/lease`, {
        token: runner.runToken,
        body: {
          runnerId: runner.runnerId,
          leaseMs: 30_000,
          progress: { phase: 'turn', lastEventAt, notifications: 1 },
        },
      });
    const progressAt = async () => {
      const found = await database.pool.query<{ at: Date | null }>(
        'select last_progress_at as at from attempts where run_id = $1',
        [runner.runId],
      );
      return found.rows[0]?.at?.getTime() ?? null;
    };
    await beat('2026-11-21T10:00:00.000Z');
    const first = await progressAt();
    expect(first).not.toBeNull();
    await beat('2026-11-21T10:00:00.000Z');
    expect(await progressAt()).toBe(first);
    await beat('2026-11-21T10:00:01.000Z');
    expect(await progressAt()).toBeGreaterThan(first ?? 0);
  });
});

describe('commands', () => {
  it('are acknowledged once; the first turn makes the run running', async () => {
    const runner = await startTurn(api);
    const first = await ack(runner, runner.promptId);
    expect(first.body.data).toMatchObject({ state: 'acknowledged' });
    expect((await ack(runner, runner.promptId)).body.data).toEqual(first.body.data);
    const run = await api.data(runRecordSchema, 'GET', `/api/v1/runs/${runner.runId}`);
    expect([run.status, run.startedAt === null]).toEqual(['running', false]);
  });

  it('wake the long poll of a runner within a second', async () => {
    const runner = await startTurn(api);
    const path = `/api/v1/runs/${runner.runId}/commands?afterSeq=1&waitMs=20000`;
    const poll = api.data(commandPageSchema, 'GET', path, { token: runner.runToken });
    await sleep(200);
    const sentAt = performance.now();
    const steer = await send(api, runner.sessionId, 'faster');
    const page = await poll;
    expect(performance.now() - sentAt).toBeLessThan(1_000);
    expect(steer.decision).toBe('steer');
    expect(page.items).toMatchObject([
      { id: steer.command.id, type: 'steer', steerDelivery: 'pending', seq: 2 },
    ]);
    expect(page).toMatchObject({ open: true, cancelRequested: false });
  });

  it('end the long poll on a cancel', async () => {
    const runner = await startTurn(api);
    const path = `/api/v1/runs/${runner.runId}/commands?afterSeq=1&waitMs=20000`;
    const poll = api.data(commandPageSchema, 'GET', path, { token: runner.runToken });
    await sleep(100);
    const cancelled = await api.call('POST', `/api/v1/runs/${runner.runId}/cancel`, {
      body: { reason: 'enough' },
    });
    expect(cancelled.body.data).toMatchObject({ cancelReason: 'enough', status: 'claimed' });
    expect(await poll).toEqual({
      items: [],
      cancelRequested: true,
      cancelDeadlineMs: null,
      cancelReason: 'enough',
      open: false,
      watched: false,
    });
  });

  it('become delivered by a user message, rejected by a word of the driver', async () => {
    const runner = await startTurn(api);
    const [good, bad] = [
      await send(api, runner.sessionId, 'left'),
      await send(api, runner.sessionId, 'right'),
    ];
    await postEvents(api, runner, [
      {
        seq: 1,
        event: { type: 'user_message', payload: { itemId: 'u1', commandId: runner.promptId, text: 'do it' } },
      },
      {
        seq: 2,
        event: { type: 'user_message', payload: { itemId: 'u2', commandId: good.command.id, text: 'left' } },
      },
      {
        seq: 3,
        event: {
          type: 'steer_delivery',
          payload: { commandId: bad.command.id, delivery: 'rejected', reason: 'no' },
        },
      },
    ]);
    const page = await api.data(commandPageSchema, 'GET', `/api/v1/runs/${runner.runId}/commands`);
    expect(
      page.items.map(({ state, steerDelivery, deliveredAt }) => [state, steerDelivery, deliveredAt === null]),
    ).toEqual([
      ['acknowledged', null, false],
      ['acknowledged', 'delivered', false],
      ['failed', 'rejected', true],
    ]);
    // The acknowledgement itself was lost: the message is proof enough.
    expect((await api.data(runRecordSchema, 'GET', `/api/v1/runs/${runner.runId}`)).status).toBe('running');
  });

  it('of type steer can be withdrawn until a runner takes them', async () => {
    const runner = await startTurn(api);
    const steer = await send(api, runner.sessionId, 'left');
    const cancel = () => api.call('POST', `/api/v1/commands/${steer.command.id}/cancel`, { body: {} });
    const look = () =>
      api.call('GET', `/api/v1/runs/${runner.runId}/commands/${steer.command.id}`, {
        token: runner.runToken,
      });
    expect((await look()).body.data).toMatchObject({ state: 'pending' });
    // A runner serves the run: it may be about to send the steer, and looks again before it sends one that waited.
    expect((await cancel()).body.data).toMatchObject({
      state: 'cancelled',
      steerDelivery: 'rejected',
      withdrawal: 'unless-sent',
    });
    expect((await look()).body.data).toMatchObject({ state: 'cancelled' });
    expect((await cancel()).status).toBe(200);
    expect(failureOf(await ack(runner, steer.command.id))).toEqual([409, 'conflict']);
    const taken = await send(api, runner.sessionId, 'right');
    await ack(runner, taken.command.id);
    expect((await api.call('POST', `/api/v1/commands/${taken.command.id}/cancel`, { body: {} })).status).toBe(
      409,
    );
  });
});

describe('the outcome of an attempt', () => {
  it('is stored by the first writer: the same again 200, another 409, an unknown word 400', async () => {
    const runner = await startTurn(api);
    const body = { terminalStatus: 'failed', failureKind: 'agent-error', failureMessage: 'it broke' };
    expect((await finish(runner, { terminalStatus: 'done' })).status).toBe(400);
    expect((await finish(runner, body)).body.data).toMatchObject({
      run: { status: 'claimed', terminalStatus: null },
      outcome: body,
      runnerState: 'closing',
    });
    expect((await finish(runner, body)).status).toBe(200);
    expect(failureOf(await finish(runner, { terminalStatus: 'completed' }))).toEqual([409, 'conflict']);
    expect(
      (await api.data(runResultSchema, 'GET', `/api/v1/runs/${runner.runId}/result`)).liveness.phase,
    ).toBe('finishing');
    await finishTurn(database.pool, runner.runId, {
      terminalStatus: 'failed',
      failureKind: 'agent-error',
      failureMessage: null,
    });
    expect((await finish(runner, body)).status).toBe(200);
  });

  it('completed closes the run and makes undelivered steers next-turn, never the prompt', async () => {
    const runner = await startTurn(api);
    await ack(runner, runner.promptId);
    const delivered = await send(api, runner.sessionId, 'in time');
    const late = await send(api, runner.sessionId, 'too late');
    await ack(runner, late.command.id);
    await postEvents(api, runner, [
      {
        seq: 1,
        event: {
          type: 'user_message',
          payload: { itemId: 'u', commandId: delivered.command.id, text: 'in time' },
        },
      },
    ]);
    const answer = outcomeAnswerSchema.parse(
      (await finish(runner, { terminalStatus: 'completed', threadId: 'thread-1', turnId: 'turn-1' })).body
        .data,
    );
    expect([answer.runnerState, answer.idleUntil === null]).toEqual(['idle', false]);
    const page = await api.data(commandPageSchema, 'GET', `/api/v1/runs/${runner.runId}/commands`);
    expect(page.open).toBe(false);
    expect(page.items.map(({ state, steerDelivery }) => [state, steerDelivery])).toEqual([
      ['completed', null],
      ['completed', 'delivered'],
      ['cancelled', 'next-turn'],
    ]);
    const after = await send(api, runner.sessionId, 'next', { dryRun: false });
    expect([after.decision, after.queued]).toEqual(['turn', true]);
    const found = await database.pool.query<{ thread_id: string }>(
      'select thread_id from sessions where session_id = $1',
      [runner.sessionId],
    );
    expect(found.rows[0]?.thread_id).toBe('thread-1');
  });

  it('other than completed leaves the run open and its commands pending', async () => {
    const runner = await startTurn(api);
    const steer = await send(api, runner.sessionId, 'keep me');
    await finish(runner, { terminalStatus: 'failed', failureKind: 'agent-error' });
    const page = await api.data(commandPageSchema, 'GET', `/api/v1/runs/${runner.runId}/commands`);
    expect([page.open, page.items.at(-1)?.id, page.items.at(-1)?.state]).toEqual([
      true,
      steer.command.id,
      'pending',
    ]);
  });
});

describe('an idle runner', () => {
  const idle = async () => {
    const runner = await startTurn(api);
    await finish(runner, { terminalStatus: 'completed', threadId: `thread-${runner.runId}` });
    await finishTurn(database.pool, runner.runId, {
      terminalStatus: 'completed',
      failureKind: null,
      failureMessage: null,
    });
    return runner;
  };

  it('is woken within a second by a hand-over, which it is told until it has ended', async () => {
    const runner = await idle();
    expect(await next(runner)).toEqual({ assignment: null, close: false });
    const poll = next(runner, 20_000);
    await sleep(100);
    const sentAt = performance.now();
    const follow = await send(api, runner.sessionId, 'and now');
    api.deps.notifier.notify('agentrun_runner', runner.jobName);
    const { assignment } = await poll;
    expect(performance.now() - sentAt).toBeLessThan(1_000);
    expect(assignment).toMatchObject({
      epoch: 1,
      threadId: `thread-${runner.runId}`,
      run: { id: follow.run.id, claimedBy: runner.runnerId },
      commands: [{ payload: { prompt: 'and now' } }],
    });
    expect((await next(runner)).assignment?.run.id).toBe(follow.run.id);
    const second = { ...runner, runId: follow.run.id, runToken: assignment?.runToken ?? '' };
    expect((await heartbeat(second)).status).toBe(200);
    expect((await postEvents(api, second, messageLines(1, 2))).status).toBe(200);
    expect((await heartbeat(runner)).status).toBe(409);
    expect((await finish(second, { terminalStatus: 'completed' })).body.data).toMatchObject({
      runnerState: 'idle',
    });
    expect(await next(runner)).toEqual({ assignment: null, close: false });
  });

  it('keeps its lease with the runner token', async () => {
    const runner = await idle();
    const beat = await api.call('PATCH', `/api/v1/runners/${runner.runnerId}/lease`, {
      token: runner.runnerToken,
      body: { leaseMs: 30_000 },
    });
    expect(beat.body.data).toMatchObject({ state: 'idle', nextHeartbeatMs: 10_000 });
  });

  it('closes when its time is over, exactly one of hand-over and close winning', async () => {
    for (let round = 0; round < 10; round += 1) {
      const runner = await idle();
      await database.pool.query(
        `update runners set idle_until = now() - interval '1 second' where job_name = $1`,
        [runner.jobName],
      );
      const [told, follow] = await Promise.all([next(runner), send(api, runner.sessionId, 'race')]);
      const reused = follow.runnerJob?.reused === true;
      const seen = reused ? await next(runner) : told;
      expect([seen.close, seen.assignment === null]).toEqual([!reused, !reused]);
      if (!reused) expect(follow.runnerJob?.jobName).toBe(jobNameOf(follow.run.id, 1));
    }
  });
});
