import { describe, expect, it } from 'vitest';
import type { WorkflowGateway } from '../../api/workflow-gateway.js';
import { AgentRunError } from '../../contract/errors.js';
import { sendAnswerSchema } from '../../contract/sessions.js';
import { acceptMessage } from '../../store/accept-message.js';
import { attemptSettings, fakeGateway, startApi, type TestApi } from '../support/api.js';
import { newSessionId, owner } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const unavailable = () => new AgentRunError('unavailable', 'no answer', { retryAfterSeconds: 2 });
const post = (on: TestApi, sessionId: string, body: Record<string, unknown>) =>
  on.call('POST', `/api/v1/sessions/${sessionId}/send`, { body: { run: owner, ...body } });
const countOf = async (sessionId: string) =>
  (
    await database.pool.query<{ runs: number; commands: number; messages: number }>(
      `select (select count(*)::int from runs where session_id = $1) as runs,
         (select count(*)::int from commands where session_id = $1) as commands,
         (select count(*)::int from session_messages where session_id = $1) as messages`,
      [sessionId],
    )
  ).rows[0];

describe('a send that got 503', () => {
  /** What became of the call that was not answered. */
  const fates: [string, (real: WorkflowGateway) => WorkflowGateway['send']][] = [
    ['never reached the session', () => () => Promise.reject(unavailable())],
    [
      'was decided, and the answer was lost',
      (real) => async (session, commandId) => {
        await real.send(session, commandId);
        throw unavailable();
      },
    ],
    [
      'is decided after the repeat',
      (real) => (session, commandId) => {
        setTimeout(() => void real.send(session, commandId).catch(() => undefined), 100);
        return Promise.reject(unavailable());
      },
    ],
  ];

  it.each(fates)('and %s is executed once when it is repeated with its key', async (_name, fate) => {
    const real = fakeGateway(database.pool);
    const shaky = await startApi(database, { gateway: { ...real, send: fate(real) } });
    try {
      const sessionId = newSessionId();
      const body = { prompt: 'x', idempotencyKey: `key-${sessionId}` };
      expect((await post(shaky, sessionId, body)).status).toBe(503);
      // Another process of the API: the key is in Postgres.
      const answers = await Promise.all([1, 2, 3].map(() => post(api, sessionId, body)));
      const ids = answers.map(({ body: { data } }) => sendAnswerSchema.parse(data).command.id);
      expect(new Set(ids).size).toBe(1);
      expect(await countOf(sessionId)).toEqual({ runs: 1, commands: 1, messages: 1 });
    } finally {
      await shaky.stop();
    }
  });

  it('and is repeated with another body is 409 and not executed', async () => {
    const real = fakeGateway(database.pool);
    const gateway = { ...real, send: () => Promise.reject(unavailable()) };
    const shaky = await startApi(database, { gateway });
    const sessionId = newSessionId();
    const key = { idempotencyKey: `key-${sessionId}` };
    expect((await post(shaky, sessionId, { prompt: 'x', ...key })).status).toBe(503);
    await shaky.stop();
    for (const other of [
      { prompt: 'y' },
      { prompt: 'x', whenBusy: 'queue' },
      { prompt: 'x', deadlineAt: '2099-01-01T00:00:00Z' },
    ]) {
      const refused = await post(api, sessionId, { ...other, ...key });
      expect([refused.status, refused.body.failureKind]).toEqual([409, 'conflict']);
    }
    expect(await countOf(sessionId)).toMatchObject({ runs: 0, commands: 0 });
  });
});

it('a decision that is asked for again, as after continue-as-new, is the stored one', async () => {
  const sessionId = newSessionId();
  const sent = sendAnswerSchema.parse((await post(api, sessionId, { prompt: 'x' })).body.data);
  const again = await acceptMessage(database.pool, attemptSettings, sent.command.id);
  expect(again).toMatchObject({ decision: { decision: 'turn', runId: sent.run.id }, touchedRunIds: [] });
  expect(await countOf(sessionId)).toEqual({ runs: 1, commands: 1, messages: 1 });
});

describe('deadlineAt', () => {
  const deadlineOf = async (runId: string) =>
    (
      await database.pool.query<{ at: Date | null }>('select deadline_at as at from runs where run_id = $1', [
        runId,
      ])
    ).rows[0]?.at;

  it('is kept with the turn that the message begins', async () => {
    const sessionId = newSessionId();
    const inAnHour = new Date(Date.now() + 3_600_000).toISOString();
    const sent = sendAnswerSchema.parse(
      (await post(api, sessionId, { prompt: 'x', deadlineAt: inAnHour })).body.data,
    );
    expect((await deadlineOf(sent.run.id))?.toISOString()).toBe(inAnHour);
    const next = sendAnswerSchema.parse(
      (await post(api, sessionId, { prompt: 'y', whenBusy: 'queue' })).body.data,
    );
    expect(await deadlineOf(next.run.id)).toBeNull();
  });

  it.each([{}, { dryRun: true }])('in the past is 400 (%j)', async (more) => {
    const sessionId = newSessionId();
    const refused = await post(api, sessionId, { prompt: 'x', deadlineAt: '2020-01-01T00:00:00Z', ...more });
    expect([refused.status, refused.body.failureKind]).toEqual([400, 'schema-invalid']);
    expect(refused.body.message).toBe('deadlineAt: expected a time in the future');
    expect(await countOf(sessionId)).toMatchObject({ runs: 0 });
  });

  it('that has passed since is no reason to refuse the repeat of what was accepted', async () => {
    const sessionId = newSessionId();
    const deadlineAt = new Date(Date.now() + 700).toISOString();
    const body = { prompt: 'x', deadlineAt, idempotencyKey: `key-${sessionId}` };
    const first = await post(api, sessionId, body);
    expect(first.status).toBe(200);
    await expect.poll(() => Date.now() > Date.parse(deadlineAt), { timeout: 5_000 }).toBe(true);
    expect((await post(api, sessionId, body)).status).toBe(200);
  });

  it.each(['tomorrow', 17, '2099-01-01'])('that is no time is 400: %j', async (deadlineAt) => {
    const refused = await post(api, newSessionId(), { prompt: 'x', deadlineAt });
    expect([refused.status, refused.body.error]).toMatchObject([
      400,
      { details: { issues: [{ path: 'deadlineAt' }] } },
    ]);
  });
});
