import { get } from 'node:http';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { WorkflowGateway } from '../../api/workflow-gateway.js';
import { AgentRunError } from '../../contract/errors.js';
import { eventPageSchema } from '../../contract/events.js';
import { queueTaskRecordSchema } from '../../contract/queue.js';
import { ensuredSessionSchema, sendPlanSchema, sessionViewSchema } from '../../contract/sessions.js';
import { finishTurn } from '../../store/turn-steps.js';
import { apiTokens, fakeGateway, startApi } from '../support/api.js';
import { newSessionId, owner, send, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const acme = 'agr_acme_0123456789abcdef';
const create = (body: Record<string, unknown>, token?: string) =>
  api.call('POST', '/api/v1/sessions', { body, ...(token === undefined ? {} : { token }) });
const view = (sessionId: string, readerId = '') =>
  api.data(sessionViewSchema, 'GET', `/api/v1/sessions/${sessionId}?readerId=${readerId}`);
const outcomeOf = (answer: { status: number; body: Record<string, unknown> }) => [
  answer.status,
  answer.body.failureKind,
];

describe('creating a session', () => {
  it('makes one, then answers it, and never another', async () => {
    const sessionId = newSessionId();
    const first = ensuredSessionSchema.parse((await create({ ...owner, sessionId })).body.data);
    expect(first).toMatchObject({
      action: 'session-created',
      session: {
        sessionId,
        storageKind: 'pvc',
        storageBackend: 'directory',
        storagePvcPhase: 'Bound',
        threadId: null,
      },
      pvc: { pvcName: `agentrun-session-${sessionId}` },
    });
    expect((await create({ ...owner, sessionId })).body.data).toMatchObject({
      action: 'session-exists',
      pvcName: `agentrun-session-${sessionId}`,
      codexRolloutSubdir: 'sessions',
    });
    expect(outcomeOf(await create({ ...owner, sessionId, projectId: 'other' }))).toEqual([409, 'conflict']);
    expect(outcomeOf(await create({ ...owner, sessionId, backendProfile: 'command' }))).toEqual([
      409,
      'conflict',
    ]);
    const other = await create({ ...owner, sessionId, tenantId: 'other' });
    expect([...outcomeOf(other), other.body.message]).toEqual([
      409,
      'conflict',
      `tenantId: session ${sessionId} belongs to tenant ${owner.tenantId}`,
    ]);
  });

  it('makes an id when none is given, and one session of many at once', async () => {
    const made = ensuredSessionSchema.parse((await create(owner)).body.data);
    expect(made.session.sessionId).toMatch(/^sess_[0-9a-z]{26}$/);
    const sessionId = newSessionId();
    const answers = await Promise.all(Array.from({ length: 8 }, () => create({ ...owner, sessionId })));
    const actions = answers.map((answer) => z.object({ action: z.string() }).parse(answer.body.data).action);
    expect(actions.filter((action) => action === 'session-created')).toHaveLength(1);
  });

  it('is refused when its storage was evicted, as is a send', async () => {
    const sessionId = newSessionId();
    await create({ ...owner, sessionId });
    await database.pool.query(`update sessions set storage_kind = 'evicted' where session_id = $1`, [
      sessionId,
    ]);
    expect(outcomeOf(await create({ ...owner, sessionId }))).toEqual([409, 'session-store-evicted']);
    for (const dryRun of [true, false]) {
      const sent = await api.call('POST', `/api/v1/sessions/${sessionId}/send`, {
        body: { prompt: 'x', dryRun },
      });
      expect(outcomeOf(sent)).toEqual([409, 'session-store-evicted']);
    }
    expect((await view(sessionId)).executionState).toBe('evicted');
  });
});

describe('tokens', () => {
  it('see and touch only what their scope and tenant allow', async () => {
    const reader = 'agr_reader_0123456789abcdef';
    const sessionId = newSessionId();
    expect(outcomeOf(await create({ ...owner, sessionId }, reader))).toEqual([403, 'forbidden']);
    expect(outcomeOf(await create({ tenantId: 'other', projectId: 'p', sessionId }, acme))).toEqual([
      403,
      'forbidden',
    ]);
    await create({ tenantId: 'other', projectId: 'p', sessionId });
    const paths = [`/api/v1/sessions/${sessionId}`, `/api/v1/sessions/${sessionId}/trace`];
    for (const path of paths) {
      expect((await api.call('GET', path, { token: reader })).status).toBe(200);
      expect(outcomeOf(await api.call('GET', path, { token: acme }))).toEqual([404, 'not-found']);
    }
    const sent = await api.call('POST', `/api/v1/sessions/${sessionId}/send`, {
      token: acme,
      body: { prompt: 'x' },
    });
    expect(outcomeOf(sent)).toEqual([404, 'not-found']);
    const run = (await send(api, sessionId, 'x', { run: { tenantId: 'other', projectId: 'p' } })).run;
    for (const path of [
      `/api/v1/runs/${run.id}`,
      `/api/v1/runs/${run.id}/events`,
      `/api/v1/runs/${run.id}/result`,
    ]) {
      expect(outcomeOf(await api.call('GET', path, { token: acme }))).toEqual([404, 'not-found']);
    }
    expect((await api.call('POST', `/api/v1/runs/${run.id}/cancel`, { token: acme })).status).toBe(404);
  });

  it('that are wrong are 401 and tell which kind of wrong', async () => {
    for (const token of ['nonsense', 'eyJhbGciOiJub25lIn0.eyJhdWQiOiJydW5uZXItcnVuIn0.']) {
      const answer = await api.call('GET', '/api/v1/sessions/x', { token });
      expect([answer.status, answer.body.failureKind]).toEqual([401, 'unauthorized']);
    }
    const answer = await api.call('GET', '/api/v1/sessions/x', {
      token: null,
      headers: { authorization: 'Basic eA==' },
    });
    expect(answer.status).toBe(401);
  });

  it('are not asked for when none is configured, but other sites are refused', async () => {
    const open = await startApi(database, { apiTokens: [] });
    try {
      const path = '/api/v1/sessions/unknown';
      expect((await open.call('GET', path, { token: null })).status).toBe(404);
      expect(
        (await open.call('GET', path, { token: null, headers: { origin: 'https://evil.example' } })).status,
      ).toBe(403);
      expect((await open.call('GET', path, { token: null, headers: { origin: open.url } })).status).toBe(404);
    } finally {
      await open.stop();
    }
  });

  // A page whose own name was made to point here is of the same origin for its browser: its GETs carry no origin at all.
  it('are not asked for under a name of this machine only', async () => {
    const open = await startApi(database, { apiTokens: [] });
    const statusAs = (host: string, more: Record<string, string> = {}) =>
      new Promise<number>((resolve, reject) => {
        const url = new URL('/api/v1/sessions/unknown', open.url);
        get(url, { headers: { host, ...more }, agent: false }, (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        }).on('error', reject);
      });
    try {
      const { port } = new URL(open.url);
      for (const name of ['localhost', 'LOCALHOST', '127.0.0.1', '127.8.7.6', '[::1]']) {
        expect([name, await statusAs(`${name}:${port}`)]).toEqual([name, 404]);
        expect([name, await statusAs(name)]).toEqual([name, 404]);
      }
      for (const name of [
        'evil.example',
        'localhost.evil.example',
        '127.0.0.1.evil.example',
        '10.0.0.1',
        '[::2]',
      ])
        expect([name, await statusAs(`${name}:${port}`)]).toEqual([name, 403]);
      const origin = `http://evil.example:${port}`;
      expect(await statusAs(`evil.example:${port}`, { origin })).toBe(403);
    } finally {
      await open.stop();
    }
  });
});

describe('send', () => {
  it('to an unknown session needs to know whose it becomes', async () => {
    const sessionId = newSessionId();
    const answer = await api.call('POST', `/api/v1/sessions/${sessionId}/send`, { body: { prompt: 'x' } });
    expect(outcomeOf(answer)).toEqual([404, 'not-found']);
    expect(answer.body.message).toContain('run.tenantId and run.projectId');
    expect((await send(api, sessionId, 'x')).run).toMatchObject({ sessionId, ...owner, sessionTurn: 1 });
  });

  it('answers as contract.md 3.6.7 says, as a turn and as a steer', async () => {
    const runner = await startTurn(api, 'first');
    const { sessionId, runId, promptId } = runner;
    const steer = await send(api, sessionId, '  second  ');
    expect(steer).toMatchObject({
      action: 'session-send',
      dryRun: false,
      mutation: true,
      decision: 'steer',
      internalCommandType: 'steer',
      run: { id: runId },
      command: { runId, type: 'steer', payload: { prompt: 'second' }, steerDelivery: 'pending' },
      runnerJob: null,
      activeBefore: {
        runId,
        commandId: promptId,
        commandState: 'pending',
        runStatus: 'claimed',
        leaseExpired: false,
      },
    });
    const ids = { sessionId, runId, commandId: steer.command.id };
    const session = { resourceKind: 'session', resourceName: sessionId, sessionId, valuesPrinted: false };
    expect(steer.pollActions).toEqual([
      {
        action: 'inspect-session',
        operation: 'describe',
        ...session,
        runId: null,
        commandId: null,
        readerId: 'cli',
      },
      {
        action: 'poll-trace',
        operation: 'events',
        resourceKind: 'run',
        resourceName: runId,
        ...ids,
        afterSeq: 0,
        limit: 100,
        valuesPrinted: false,
      },
      { action: 'poll-output', operation: 'logs', ...session, ...ids, afterSeq: 0, limit: 100 },
      {
        action: 'read-session',
        operation: 'read',
        ...session,
        runId: null,
        commandId: null,
        readerId: 'cli',
      },
      {
        action: 'cancel-session',
        operation: 'cancel',
        ...session,
        runId: null,
        commandId: null,
        reasonRequired: true,
      },
    ]);
    const turn = await send(api, newSessionId(), 'x');
    expect(turn).toMatchObject({
      decision: 'turn',
      activeBefore: null,
      runnerJob: { phase: 'creating', reused: false },
    });
  });

  it('as a dry run changes nothing and says what the real one decides', async () => {
    const sessionId = newSessionId();
    const plan = async () =>
      sendPlanSchema.parse(
        (
          await api.call('POST', `/api/v1/sessions/${sessionId}/send`, {
            body: { text: 'x', dryRun: true, run: { ...owner, sessionRef: { metadata: { b: 1, a: 2 } } } },
          })
        ).body.data,
      );
    expect(await plan()).toMatchObject({
      action: 'session-send-plan',
      decision: 'turn',
      activeBefore: null,
      request: {
        method: 'POST',
        path: `/api/v1/sessions/${sessionId}/send`,
        commandType: 'turn',
        payloadBytes: 14,
        runnerJobBytes: 2,
      },
      run: { sessionRef: { sessionId, metadataKeys: ['a', 'b'] } },
      next: { confirm: { action: 'send-session', inputKind: 'prompt', sessionId } },
    });
    expect((await api.call('GET', `/api/v1/sessions/${sessionId}`)).status).toBe(404);
    const turn = await send(api, sessionId, 'x');
    const second = await plan();
    expect(second).toMatchObject({
      decision: 'steer',
      request: { path: `/api/v1/runs/${turn.run.id}/commands`, commandType: 'steer' },
      activeBefore: { runId: turn.run.id },
    });
    expect([second.run, second.request.runBytes]).toEqual([undefined, undefined]);
    expect((await send(api, sessionId, 'x')).decision).toBe('steer');
  });

  it('with a key answers the same decision again, and refuses another body', async () => {
    const sessionId = newSessionId();
    const first = await send(api, sessionId, 'x', { idempotencyKey: 'k1' });
    const again = await send(api, sessionId, 'x', { commandIdempotencyKey: 'k1', idempotencyKey: 'ignored' });
    expect([again.command.id, again.run.id, again.idempotencyKey]).toEqual([
      first.command.id,
      first.run.id,
      'k1',
    ]);
    const other = await api.call('POST', `/api/v1/sessions/${sessionId}/send`, {
      body: { prompt: 'y', idempotencyKey: 'k1' },
    });
    expect(outcomeOf(other)).toEqual([409, 'conflict']);
    const many = await Promise.all(
      Array.from({ length: 6 }, () => send(api, sessionId, 'z', { idempotencyKey: 'k2' })),
    );
    expect(new Set(many.map((answer) => answer.command.id)).size).toBe(1);
  });

  it('without a key is told the one that was made; with it, an unknown outcome is found out', async () => {
    const real = fakeGateway(database.pool);
    let fails = true;
    const gateway: WorkflowGateway = {
      ...real,
      send: (session, commandId) =>
        fails
          ? Promise.reject(new AgentRunError('unavailable', 'no answer', { retryAfterSeconds: 2 }))
          : real.send(session, commandId),
    };
    const shaky = await startApi(database, { gateway });
    try {
      const path = `/api/v1/sessions/${newSessionId()}/send`;
      const body = { prompt: 'x', run: owner };
      const refused = await shaky.call('POST', path, { body });
      expect([refused.status, refused.headers.get('retry-after'), refused.body.failureKind]).toEqual([
        503,
        '2',
        'unavailable',
      ]);
      const { details } = z
        .object({ details: z.object({ outcome: z.literal('unknown'), idempotencyKey: z.string() }) })
        .parse(refused.body.error);
      fails = false;
      const found = await shaky.call('POST', path, {
        body: { ...body, idempotencyKey: details.idempotencyKey },
      });
      expect(found.body.data).toMatchObject({ decision: 'turn', command: { id: details.idempotencyKey } });
    } finally {
      await shaky.stop();
    }
  });

  it('allows eight undecided per session', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const real = fakeGateway(database.pool);
    const gateway: WorkflowGateway = {
      ...real,
      send: async (session, commandId) => {
        await held;
        return real.send(session, commandId);
      },
    };
    const slow = await startApi(database, { gateway });
    try {
      const path = `/api/v1/sessions/${newSessionId()}/send`;
      const sends = Array.from({ length: 9 }, () =>
        slow.call('POST', path, { body: { prompt: 'x', run: owner } }),
      );
      const refused = await Promise.race(sends);
      expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '1']);
      release();
      const statuses = (await Promise.all(sends)).map((answer) => answer.status).toSorted((a, b) => a - b);
      expect(statuses).toEqual([200, 200, 200, 200, 200, 200, 200, 200, 429]);
    } finally {
      await slow.stop();
    }
  });

  it('obeys whenBusy', async () => {
    const { sessionId, runId } = await startTurn(api);
    const busy = (whenBusy: string) =>
      api.call('POST', `/api/v1/sessions/${sessionId}/send`, { body: { prompt: 'x', whenBusy } });
    expect(outcomeOf(await busy('reject'))).toEqual([409, 'session-busy']);
    expect((await busy('queue')).body.data).toMatchObject({
      decision: 'turn',
      queued: true,
      run: { sessionTurn: null },
    });
    expect((await busy('interrupt')).body.data).toMatchObject({ decision: 'turn', queued: true });
    const run = await api.call('GET', `/api/v1/runs/${runId}`);
    expect(run.body.data).toMatchObject({ cancelReason: 'interrupted by a newer message' });
    expect((await view(sessionId)).queuedTurns).toBe(2);
  });
});

describe('what a session shows', () => {
  it('changes with its turn and with what the reader has read', async () => {
    const sessionId = newSessionId();
    await create({ ...owner, sessionId });
    expect(await view(sessionId)).toMatchObject({
      executionState: 'idle',
      attentionState: 'none',
      active: false,
      turns: 0,
    });
    expect(await api.data(eventPageSchema, 'GET', `/api/v1/sessions/${sessionId}/trace`)).toMatchObject({
      runId: null,
      items: [],
    });
    const { runId } = await startTurn(api, 'x', sessionId);
    const running = await view(sessionId);
    expect(running).toMatchObject({
      executionState: 'starting',
      attentionState: 'active-session',
      activeRunId: runId,
    });
    expect(running.liveness).toMatchObject({ phase: 'claimed', lease: { leaseExpired: false } });
    await finishTurn(database.pool, runId, {
      terminalStatus: 'failed',
      failureKind: 'agent-error',
      failureMessage: 'broke',
    });
    expect(await view(sessionId)).toMatchObject({
      executionState: 'idle',
      attentionState: 'failed',
      terminalStatus: 'failed',
      failureKind: 'agent-error',
      lastRunId: runId,
      liveness: { phase: 'terminal' },
    });
    const mark = await api.call('POST', `/api/v1/sessions/${sessionId}/read`, { body: { readerId: 'ann' } });
    expect(mark.body.data).toMatchObject({ sessionId, readerId: 'ann', runId });
    expect([(await view(sessionId, 'ann')).attentionState, (await view(sessionId)).attentionState]).toEqual([
      'none',
      'failed',
    ]);
    const trace = await api.data(eventPageSchema, 'GET', `/api/v1/sessions/${sessionId}/trace?waitMs=5000`);
    expect([trace.runId, trace.terminal, trace.hasMore, trace.items.at(-1)?.type]).toEqual([
      runId,
      true,
      false,
      'terminal_status',
    ]);
    const output = await api.data(eventPageSchema, 'GET', `/api/v1/sessions/${sessionId}/output`);
    expect(output.items.map((event) => event.type)).toEqual(['terminal_status']);
  });

  it('pages through events without a loss', async () => {
    const { sessionId, runId } = await startTurn(api);
    await finishTurn(database.pool, runId, {
      terminalStatus: 'cancelled',
      failureKind: 'cancelled',
      failureMessage: null,
    });
    const first = await api.data(
      eventPageSchema,
      'GET',
      `/api/v1/sessions/${sessionId}/trace?limit=1&runId=${runId}`,
    );
    expect([first.items.map((event) => event.seq), first.hasMore, first.lastSeq]).toEqual([[1], true, 2]);
    const second = await api.data(
      eventPageSchema,
      'GET',
      `/api/v1/sessions/${sessionId}/trace?limit=1&afterSeq=1`,
    );
    expect([second.items.map((event) => event.seq), second.hasMore, second.terminal]).toEqual([
      [2],
      false,
      true,
    ]);
    const other = await startTurn(api);
    expect((await api.call('GET', `/api/v1/sessions/${sessionId}/trace?runId=${other.runId}`)).status).toBe(
      404,
    );
  });

  it('is controlled by read and cancel', async () => {
    const { sessionId, promptId } = await startTurn(api);
    const control = (body: Record<string, unknown>) =>
      api.call('POST', `/api/v1/sessions/${sessionId}/control`, { body });
    expect((await control({ action: 'read' })).body.data).toMatchObject({ readerId: 'cli' });
    expect((await control({ action: 'explode' })).status).toBe(400);
    expect((await control({ action: 'cancel', reason: 'enough' })).body.data).toMatchObject({ id: promptId });
    const idle = newSessionId();
    await create({ ...owner, sessionId: idle });
    expect(
      outcomeOf(await api.call('POST', `/api/v1/sessions/${idle}/control`, { body: { action: 'cancel' } })),
    ).toEqual([409, 'conflict']);
  });
});

describe('cancelling a run', () => {
  it('that waits behind another ends it at once; one that has ended is answered as it is', async () => {
    const { sessionId } = await startTurn(api);
    const queued = await send(api, sessionId, 'later', { whenBusy: 'queue' });
    const cancel = () => api.call('POST', `/api/v1/runs/${queued.run.id}/cancel`, { body: {} });
    expect((await cancel()).status).toBe(200);
    await database.pool.query('delete from attempts where run_id = $1', [queued.run.id]);
    expect((await cancel()).body.data).toMatchObject({ status: 'cancelled', failureKind: 'cancelled' });
    expect((await cancel()).body.data).toMatchObject({ status: 'cancelled' });
  });
});

describe('queue tasks', () => {
  it('are created once per key, wait, and belong to their tenant', async () => {
    const body = { ...owner, prompt: ' do ', title: 't', idempotencyKey: newSessionId() };
    const make = (more = {}, token = acme) =>
      api.call('POST', '/api/v1/queue/tasks', { token, body: { ...body, ...more } });
    const task = queueTaskRecordSchema.parse((await make()).body.data);
    expect(task).toMatchObject({
      state: 'queued',
      payload: { prompt: 'do' },
      attempts: 0,
      latestAttempt: null,
      queue: 'default',
    });
    expect((await make()).body.data).toEqual(task);
    expect(outcomeOf(await make({ prompt: 'other' }))).toEqual([409, 'conflict']);
    expect(outcomeOf(await make({ tenantId: 'other' }))).toEqual([403, 'forbidden']);
    expect((await api.call('GET', `/api/v1/queue/tasks/${task.id}`)).body.data).toEqual(task);
    expect((await api.call('POST', `/api/v1/queue/tasks/${task.id}/dispatch`, { body: {} })).status).toBe(
      200,
    );
    expect(
      (await api.call('POST', `/api/v1/queue/tasks/${task.id}/dispatch`, { body: { now: true } })).status,
    ).toBe(400);
    const strange = await startApi(database, {
      apiTokens: apiTokens.map((token) => ({ ...token, tenantId: 'other' })),
    });
    try {
      expect((await strange.call('GET', `/api/v1/queue/tasks/${task.id}`)).status).toBe(404);
    } finally {
      await strange.stop();
    }
  });
});
