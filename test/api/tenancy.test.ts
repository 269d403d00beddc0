import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { queueTaskRecordSchema } from '../../contract/queue.js';
import { runRecordSchema } from '../../contract/runs.js';
import { sendAnswerSchema } from '../../contract/sessions.js';
import { startApi, type TestApi } from '../support/api.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { newSessionId, send, startTurn } from '../support/turns.js';

const acme = 'agr_acme_0123456789abcdef';
const other = 'agr_other_0123456789abcdef';

let postgres: TestPostgres;
let api: TestApi;
beforeAll(async () => {
  postgres = await startPostgres();
  api = await startApi(await postgres.newDatabase(), {
    apiTokens: [
      { name: 'admin', token: 'agr_admin_0123456789abcdef', scopes: ['admin'], tenantId: undefined },
      { name: 'acme', token: acme, scopes: ['operate'], tenantId: 'acme' },
      { name: 'other', token: other, scopes: ['admin'], tenantId: 'other' },
    ],
  });
});
afterAll(async () => {
  await api.stop();
  await postgres.stop();
});

const ownerOf = (tenantId: string) => ({ tenantId, projectId: 'web' });

async function outcome(
  method: string,
  path: string,
  body?: unknown,
  token = other,
): Promise<[number, unknown]> {
  const answer = await api.call(method, path, body === undefined ? { token } : { token, body });
  return [answer.status, answer.body.failureKind];
}
const hidden = [404, 'not-found'];

describe('the same idempotency key of two tenants', () => {
  it('is two keys for a task and for a run', async () => {
    const idempotencyKey = `key-${newSessionId()}`;
    const task = (tenantId: string, token: string, prompt: string) =>
      api.data(queueTaskRecordSchema, 'POST', '/api/v1/queue/tasks', {
        token,
        body: { ...ownerOf(tenantId), prompt, idempotencyKey },
      });
    const [first, second] = [await task('acme', acme, 'ours'), await task('other', other, 'theirs')];
    expect([first.tenantId, second.tenantId]).toEqual(['acme', 'other']);
    expect((await task('acme', acme, 'ours')).id).toBe(first.id);
    expect((await task('other', other, 'theirs')).id).toBe(second.id);
    const run = (tenantId: string, token: string) =>
      api.data(runRecordSchema, 'POST', '/api/v1/runs', {
        token,
        headers: { 'idempotency-key': idempotencyKey },
        body: { ...ownerOf(tenantId), backendProfile: 'codex' },
      });
    expect((await run('acme', acme)).tenantId).toBe('acme');
    expect((await run('other', other)).tenantId).toBe('other');
  });

  it('tells nothing of a send to a session of another', async () => {
    const sessionId = newSessionId();
    const body = { prompt: 'secret plan', commandIdempotencyKey: 'k', run: ownerOf('acme') };
    const path = `/api/v1/sessions/${sessionId}/send`;
    await api.data(sendAnswerSchema, 'POST', path, { token: acme, body });
    const { run: _run, ...plain } = body;
    // The same body, another one, and one that would make the session.
    expect(await outcome('POST', path, plain)).toEqual(hidden);
    expect(await outcome('POST', path, { ...plain, prompt: 'x' })).toEqual(hidden);
    expect(await outcome('POST', path, { ...plain, run: ownerOf('other') })).toEqual(hidden);
    expect(await outcome('POST', path, { ...plain, dryRun: true })).toEqual(hidden);
    expect(await outcome('POST', path, body)).toEqual([403, 'forbidden']);
  });
});

describe('a session of another tenant', () => {
  it('cannot be named by a session, a run or a task', async () => {
    const { sessionId } = await send(api, newSessionId(), 'hello');
    const sessionRef = { sessionId };
    const body = { ...ownerOf('other'), backendProfile: 'codex', sessionRef };
    expect(
      await outcome('POST', '/api/v1/sessions', { ...ownerOf('other'), backendProfile: 'codex', sessionId }),
    ).toEqual(hidden);
    expect(await outcome('POST', '/api/v1/runs', body)).toEqual(hidden);
    expect(await outcome('POST', '/api/v1/queue/tasks', { ...body, prompt: 'x' })).toEqual(hidden);
    expect(
      await outcome(
        'POST',
        '/api/v1/queue/tasks',
        { ...ownerOf('acme'), projectId: 'else', sessionRef, prompt: 'x' },
        acme,
      ),
    ).toEqual([409, 'conflict']);
    expect(
      await outcome('POST', '/api/v1/queue/tasks', { ...ownerOf('acme'), sessionRef, prompt: 'x' }, acme),
    ).toEqual([200, undefined]);
  });

  it('shows no event, request, runner job or long poll, under no id of its own tenant either', async () => {
    const theirs = await send(api, newSessionId(), 'hello');
    const own = await api.data(sendAnswerSchema, 'POST', `/api/v1/sessions/${newSessionId()}/send`, {
      token: other,
      body: { prompt: 'x', run: ownerOf('other') },
    });
    const { sessionId } = theirs;
    const runId = theirs.run.id;
    const commandId = theirs.command.id;
    for (const path of [
      `/api/v1/sessions/${sessionId}`,
      `/api/v1/sessions/${sessionId}/trace?waitMs=20000`,
      `/api/v1/sessions/${sessionId}/output`,
      `/api/v1/sessions/${sessionId}/requests`,
      `/api/v1/sessions/${sessionId}/storage`,
      `/api/v1/sessions/${own.sessionId}/trace?runId=${runId}&waitMs=20000`,
      `/api/v1/sessions/${own.sessionId}/output?runId=${runId}`,
      `/api/v1/runs/${runId}/events?waitMs=20000`,
      `/api/v1/runs/${runId}/commands?waitMs=20000`,
      `/api/v1/runs/${own.run.id}/commands/${commandId}`,
      `/api/v1/runs/${own.run.id}/commands/${commandId}/result`,
      `/api/v1/runs/${own.run.id}/result?commandId=${commandId}`,
      `/api/v1/runs/${runId}/requests`,
      `/api/v1/runs/${runId}/runner-jobs`,
      `/api/v1/runs/${own.run.id}/runner-jobs/${theirs.runnerJob?.id}`,
    ]) {
      const startedAt = performance.now();
      expect([path, ...(await outcome('GET', path))]).toEqual([path, ...hidden]);
      expect(performance.now() - startedAt).toBeLessThan(10_000);
    }
  });

  it('is as unknown while it is being deleted, to a plan with any values and to a creation', async () => {
    const { sessionId, run } = await send(api, newSessionId(), 'hello');
    const requestId = run.id.replace('run_', 'req_');
    await api.deps.pool.query(
      `insert into agent_requests (request_id, tenant_id, session_id, run_id, epoch, kind, fingerprint, request)
       select $2, tenant_id, session_id, run_id, 1, 'question', 'f', '{"summary": "which one?"}' from runs where run_id = $1`,
      [run.id, requestId],
    );
    await api.deps.pool.query('update sessions set deleted_at = now() where session_id = $1', [sessionId]);
    const path = `/api/v1/sessions/${sessionId}/send`;
    const theirs = { ...ownerOf('other'), backendProfile: 'codex' };
    const about = `session ${sessionId} does not exist`;
    for (const body of [
      { prompt: 'x' },
      { prompt: 'x', run: { ...theirs, projectId: 'else' } },
      { prompt: 'x', run: { ...theirs, backendProfile: 'command' } },
      { prompt: 'x', run: theirs },
      { prompt: 'x', run: theirs, answers: requestId },
    ])
      for (const dryRun of [true, false]) {
        const answer = await api.call('POST', path, { token: other, body: { ...body, dryRun } });
        expect([body, dryRun, answer.status, answer.body.failureKind]).toEqual([body, dryRun, ...hidden]);
        if (!('answers' in body)) expect(answer.body.message).toContain(about);
      }
    expect(await outcome('POST', '/api/v1/sessions', { ...theirs, sessionId })).toEqual(hidden);
    expect(await outcome('POST', '/api/v1/runs', { ...theirs, sessionRef: { sessionId } })).toEqual(hidden);
  });

  it('is not shown by a replayed creation, when its id was ours before', async () => {
    const sessionId = newSessionId();
    const create = (token: string, tenantId: string) =>
      api.call('POST', '/api/v1/sessions', {
        token,
        headers: { 'idempotency-key': sessionId },
        body: { ...ownerOf(tenantId), sessionId, backendProfile: 'codex' },
      });
    expect((await create(other, 'other')).status).toBe(200);
    await api.deps.pool.query('delete from sessions where session_id = $1', [sessionId]);
    expect((await create(acme, 'acme')).status).toBe(200);
    const replayed = await create(other, 'other');
    expect([replayed.status, replayed.body.failureKind]).toEqual(hidden);
  });

  it('is in no list, whatever it is filtered by', async () => {
    const { sessionId, run } = await send(api, newSessionId(), 'hello');
    for (const path of [
      `/api/v1/sessions?limit=500`,
      `/api/v1/runs?sessionId=${sessionId}`,
      `/api/v1/runners?sessionId=${sessionId}`,
      `/api/v1/audit?resourceId=${sessionId}`,
    ]) {
      const answer = await api.call('GET', path, { token: other });
      expect([path, answer.status]).toEqual([path, 200]);
      expect(answer.text).not.toContain(sessionId);
      expect(answer.text).not.toContain(run.id);
    }
  });
});

describe('a run of another tenant', () => {
  it('takes no write with an API token, as a person or as a runner', async () => {
    const created = await api.data(runRecordSchema, 'POST', '/api/v1/runs', {
      token: acme,
      body: { ...ownerOf('acme'), backendProfile: 'codex' },
    });
    const command = await api.call('POST', `/api/v1/runs/${created.id}/commands`, {
      token: acme,
      body: { type: 'turn', payload: { prompt: 'x' } },
    });
    expect(command.status).toBe(200);
    const { id: commandId } = recordId(command.body.data);
    const run = `/api/v1/runs/${created.id}`;
    for (const [method, path, body] of [
      ['POST', `${run}/commands`, { type: 'steer', payload: { prompt: 'x' } }],
      ['POST', `${run}/cancel`, {}],
      ['POST', `${run}/runner-jobs`, {}],
      ['POST', `${run}/claim`, { runnerId: 'mine' }],
      ['PATCH', `${run}/lease`, { runnerId: 'mine' }],
      ['POST', `${run}/events`, { type: 'error', payload: { message: 'x' } }],
      ['PATCH', `${run}/status`, { terminalStatus: 'completed' }],
      ['POST', `/api/v1/commands/${commandId}/ack`, {}],
      ['PATCH', `/api/v1/commands/${commandId}/status`, { terminalStatus: 'completed' }],
      ['POST', `/api/v1/commands/${commandId}/cancel`, {}],
      ['POST', `${run}/requests/req_0123456789abcdefghjkmnpqrs/expire`, {}],
    ] as const) {
      expect([path, ...(await outcome(method, path, body))]).toEqual([path, ...hidden]);
    }
    const after = await api.data(runRecordSchema, 'GET', run, { token: acme });
    expect([after.status, after.cancelRequestedAt]).toEqual(['pending', null]);
  });

  it('is not told of to a runner of ours: its command is as unknown as none', async () => {
    const [mine, theirs] = [await startTurn(api), await startTurn(api)];
    const acknowledge = (commandId: string) =>
      outcome('POST', `/api/v1/commands/${commandId}/ack`, {}, mine.runToken);
    expect(await acknowledge(theirs.promptId)).toEqual(hidden);
    expect(await acknowledge(mine.promptId)).toEqual([200, undefined]);
    expect(
      await outcome(
        'PATCH',
        `/api/v1/commands/${theirs.promptId}/status`,
        { terminalStatus: 'completed' },
        mine.runToken,
      ),
    ).toEqual(hidden);
  });
});

describe('a queue task of another tenant', () => {
  it('is neither seen nor moved', async () => {
    const { id } = await api.data(queueTaskRecordSchema, 'POST', '/api/v1/queue/tasks', {
      token: acme,
      body: { ...ownerOf('acme'), prompt: 'x' },
    });
    expect(await outcome('GET', `/api/v1/queue/tasks/${id}`)).toEqual(hidden);
    expect(await outcome('POST', `/api/v1/queue/tasks/${id}/dispatch`, {})).toEqual(hidden);
    expect(await outcome('POST', `/api/v1/queue/tasks/${id}/cancel`, {})).toEqual(hidden);
  });
});

function recordId(data: unknown): { id: string } {
  return queueTaskRecordSchema.pick({ id: true }).parse(data);
}
