import { describe, expect, it } from 'vitest';
import { healthSchema } from '../../contract/health.js';
import { runRecordSchema, runResultSchema } from '../../contract/runs.js';
import { ensuredSessionSchema } from '../../contract/sessions.js';
import { finishTurn } from '../../store/turn-steps.js';
import type { ApiAnswer, CallOptions } from '../support/api.js';
import { newSessionId, owner, send, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();
const acme = 'agr_acme_0123456789abcdef';

const create = (body: object, options: CallOptions = {}) =>
  api.call('POST', '/api/v1/sessions', { body: { ...owner, ...body }, ...options });
const sendTo = (sessionId: string, body: object, options: CallOptions = {}) =>
  api.call('POST', `/api/v1/sessions/${sessionId}/send`, { body, ...options });
const told = ({ status, body }: ApiAnswer) => [status, body.failureKind, body.message];
const issuesOf = ({ body }: ApiAnswer) => body.error;

describe('a session id', () => {
  it('is trimmed', async () => {
    const sessionId = newSessionId();
    const { session } = ensuredSessionSchema.parse(
      (await create({ sessionId: ` ${sessionId}\t` })).body.data,
    );
    expect(session.sessionId).toBe(sessionId);
    const run = await api.data(runRecordSchema, 'POST', '/api/v1/runs', {
      body: { ...owner, sessionRef: { sessionId: `${sessionId} ` } },
    });
    expect(run.sessionId).toBe(sessionId);
  });

  it.each(['', '  ', null])('that is %j is generated', async (sessionId) => {
    const { session } = ensuredSessionSchema.parse((await create({ sessionId })).body.data);
    expect(session.sessionId).toMatch(/^sess_/);
  });

  it('with blank space inside is 400', async () => {
    expect((await create({ sessionId: 'a b' })).status).toBe(400);
  });
});

describe('null', () => {
  it('in the limits of a run keeps those of its session', async () => {
    const sessionId = newSessionId();
    await create({ sessionId, executionPolicy: { leaseMs: 5_000 } });
    const run = await api.data(runRecordSchema, 'POST', '/api/v1/runs', {
      body: { ...owner, providerId: null, sessionRef: { sessionId }, executionPolicy: { leaseMs: null } },
    });
    expect(run).toMatchObject({ providerId: null, executionPolicy: { leaseMs: 5_000 } });
  });

  it('in each field of a send is absence', async () => {
    const answer = await sendTo(newSessionId(), {
      prompt: 'go',
      run: { ...owner, workspace: null, executionPolicy: null, metadata: null },
      payload: null,
      message: null,
      idempotencyKey: null,
      dryRun: null,
      createRunnerJob: null,
      whenBusy: null,
      deadlineAt: null,
    });
    expect(answer.status).toBe(200);
  });
});

it('a prompt is limited in bytes', async () => {
  const sessionId = newSessionId();
  const sent = (prompt: string) => sendTo(sessionId, { prompt, run: owner, dryRun: true });
  expect((await sent('é'.repeat(131_072))).status).toBe(200);
  expect((await sent('é'.repeat(131_073))).status).toBe(400);
  expect((await sendTo(sessionId, { payload: { prompt: 'é'.repeat(131_073) }, run: owner })).status).toBe(
    400,
  );
});

describe('a session of another tenant', () => {
  const other = { tenantId: 'other', projectId: 'web' };

  it('is named to a token that sees all tenants', async () => {
    const sessionId = newSessionId();
    await create({ sessionId });
    const said = `tenantId: session ${sessionId} belongs to tenant acme`;
    expect(told(await create({ ...other, sessionId }))).toEqual([409, 'conflict', said]);
    const run = await api.call('POST', '/api/v1/runs', { body: { ...other, sessionRef: { sessionId } } });
    expect(told(run)).toEqual([409, 'conflict', said]);
    expect(told(await sendTo(sessionId, { prompt: 'x', run: other }))).toEqual([409, 'conflict', said]);
  });

  it('is only an id that cannot be had to a token that is bound to one', async () => {
    const sessionId = newSessionId();
    await create({ ...other, sessionId });
    const said = `sessionId: ${sessionId} cannot be used; choose another`;
    expect(told(await create({ sessionId }, { token: acme }))).toEqual([404, 'not-found', said]);
    const sent = await sendTo(sessionId, { prompt: 'x', run: owner }, { token: acme });
    expect(told(sent)).toEqual([404, 'not-found', said]);
    const bare = (id: string) => sendTo(id, { prompt: 'x' }, { token: acme });
    const unknown = newSessionId();
    const messageOf = async (id: string) => String((await bare(id)).body.message).replace(id, 'ID');
    expect(await messageOf(sessionId)).toBe(await messageOf(unknown));
  });
});

it('liveness says nothing of what it did not ask', async () => {
  const { body } = await api.call('GET', '/health/live', { token: null });
  expect(healthSchema.parse(body.data)).toMatchObject({
    ready: true,
    database: { ready: null, message: null },
    temporal: { ready: null, message: null },
  });
});

it('milliseconds are whole, and the lease of an ended run does not count down', async () => {
  const runner = await startTurn(api);
  const result = () => api.data(runResultSchema, 'GET', `/api/v1/runs/${runner.runId}/result`);
  const running = (await result()).liveness;
  expect(running.lastEventAgeMs).toBeGreaterThanOrEqual(0);
  expect(running.lease.leaseRemainingMs).toBeGreaterThan(0);
  await finishTurn(database.pool, runner.runId, {
    terminalStatus: 'completed',
    failureKind: null,
    failureMessage: null,
  });
  expect((await result()).liveness.lease.leaseRemainingMs).toBeNull();
});

describe('what is said of a wrong field', () => {
  it('is what was expected, without the word', async () => {
    const answer = await sendTo(newSessionId(), {
      prompt: 7,
      run: { ...owner, metadata: 'x', tenant: 'a' },
      deadlineAt: 'soon',
    });
    expect(issuesOf(answer)).toMatchObject({
      details: {
        issues: expect.arrayContaining([
          { path: 'prompt', expected: 'text', received: 'number' },
          { path: 'run.metadata', expected: 'an object', received: 'string' },
          { path: 'run.tenant', expected: 'nothing', received: 'string' },
          {
            path: 'deadlineAt',
            expected: 'a time such as 2026-01-31T12:00:00Z, with its offset',
            received: 'string',
          },
        ]),
      },
    });
    expect(answer.body.message).toContain('run.metadata: expected an object (received string)');
  });

  it('in a query does not wonder that it is text, and offers no empty word', async () => {
    const limit = await api.call('GET', '/api/v1/sessions?limit=1e3');
    expect(limit.body.message).toBe('query.limit: expected an integer from 1 to 500 (received other text)');
    const profile = await api.call('GET', '/api/v1/sessions?profile=gpt');
    expect(profile.body.message).toBe('query.profile: expected "codex" or "command" (received other text)');
  });

  it('shortens a long list of words in the sentence, and has all in the details', async () => {
    const { run } = await send(api, newSessionId(), 'x', { createRunnerJob: false });
    await api.call('POST', `/api/v1/runs/${run.id}/claim`, { body: { runnerId: 'old' } });
    const answer = await api.call('POST', `/api/v1/runs/${run.id}/events`, { body: { type: 'shout' } });
    expect(String(answer.body.message).length).toBeLessThan(260);
    expect(JSON.stringify(issuesOf(answer))).toContain('events_lost');
  });

  it('names both places of two keys', async () => {
    const answer = await sendTo(
      newSessionId(),
      { prompt: 'x', run: owner, idempotencyKey: 'one' },
      { headers: { 'idempotency-key': 'two' } },
    );
    expect(issuesOf(answer)).toMatchObject({ details: { issues: [{ path: 'idempotencyKey' }] } });
    expect(answer.body.message).toContain('Idempotency-Key');
  });
});
