import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type AgentRequestRecord, agentRequestRecordSchema } from '../../contract/agent-requests.js';
import { idPrefixes } from '../../contract/ids.js';
import { commandPageSchema } from '../../contract/runners.js';
import { expireDueRequests } from '../../store/agent-requests.js';
import { newId } from '../../store/new-id.js';
import { withTransaction } from '../../store/pool.js';
import { finishTurn } from '../../store/turn-steps.js';
import { startApi } from '../support/api.js';
import {
  claim,
  launchTokenOf,
  nextAttempt,
  postEvents,
  register,
  type ServingRunner,
  send,
  startTurn,
} from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const pageSchema = z.object({
  items: z.array(agentRequestRecordSchema),
  nextCursor: z.string().nullable(),
  hasMore: z.boolean(),
});
const page = (path: string, token?: string) =>
  api.data(pageSchema, 'GET', path, token === undefined ? {} : { token });
const requestsOf = async (runner: ServingRunner) =>
  (await page(`/api/v1/runs/${runner.runId}/requests`)).items;
async function requestOf(runner: ServingRunner, requestId: string): Promise<AgentRequestRecord> {
  const found = (await requestsOf(runner)).find((request) => request.requestId === requestId);
  if (found === undefined) throw new Error(`no request ${requestId}`);
  return found;
}

/** A batch of one producer: its sequence counts on. */
function producer(runner: ServingRunner) {
  let seq = 0;
  return async (...events: { type: string; payload: unknown }[]) => {
    const lines = events.map((event) => {
      seq += 1;
      return { seq, event };
    });
    const answer = await postEvents(api, runner, lines);
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.text}`);
  };
}

const newRequestId = () => newId(idPrefixes.agentRequest);
const asks = (requestId: string, more: Record<string, unknown> = {}) => ({
  type: 'approval_requested',
  payload: {
    requestId,
    kind: 'command',
    itemId: 'item-1',
    summary: 'run rm -rf build',
    command: 'rm -rf build',
    cwd: '/workspace',
    reason: null,
    questions: [],
    fingerprint: 'f1',
    ...more,
  },
});
const question = (id: string) => ({ id, header: '', question: 'which?', options: null, secret: false });
const resolves = (requestId: string, resolution: string) => ({
  type: 'approval_resolved',
  payload: { requestId, resolution, reason: null },
});
const answer = (runner: ServingRunner, body: Record<string, unknown>) =>
  api.call('POST', `/api/v1/sessions/${runner.sessionId}/send`, { body });
const expire = (runner: ServingRunner, requestId: string) =>
  api.call('POST', `/api/v1/runs/${runner.runId}/requests/${requestId}/expire`, { token: runner.runToken });
const clockOf = async (runId: string) =>
  (
    await database.pool.query<{ paused: boolean; paused_ms: number }>(
      'select paused_since is not null as paused, paused_ms from runs where run_id = $1',
      [runId],
    )
  ).rows[0];
const passTime = (requestId: string) =>
  database.pool.query(
    `update agent_requests set expires_at = now() - interval '1 second' where request_id = $1`,
    [requestId],
  );

async function asked(kind?: Record<string, unknown>) {
  const runner = await startTurn(api);
  const emit = producer(runner);
  const requestId = newRequestId();
  await emit(asks(requestId, kind));
  return { runner, emit, requestId };
}

/** What the runner of a later attempt is told. */
const nextAssignment = async (runner: ServingRunner, epoch = 2) =>
  (await nextAttempt(api, database.pool, runner, epoch)).assignment;

describe('a request of the agent', () => {
  it('is stored with the event that tells of it, and stops the clock until it is answered', async () => {
    const { runner, requestId } = await asked();
    expect(await clockOf(runner.runId)).toMatchObject({ paused: true });
    const stored = await requestOf(runner, requestId);
    expect(stored).toMatchObject({
      state: 'pending',
      kind: 'command',
      command: 'rm -rf build',
      epoch: 1,
      resolvedAt: null,
      sessionId: runner.sessionId,
    });
    // approvalTimeoutMs is a day by default.
    const lifeMs = Date.parse(stored.expiresAt ?? '') - Date.parse(stored.askedAt);
    expect(Math.abs(lifeMs - 86_400_000)).toBeLessThan(5_000);
    const answered = await answer(runner, { answers: requestId, decision: 'approve' });
    expect(answered.body.data).toMatchObject({
      decision: 'answer',
      internalCommandType: 'answer',
      run: { id: runner.runId },
      command: { type: 'answer', state: 'pending', payload: { requestId, decision: 'approve' } },
    });
    expect(await clockOf(runner.runId)).toMatchObject({ paused: false });
    expect(await requestOf(runner, requestId)).toMatchObject({ state: 'approved', deliveredAt: null });
  });

  it('reaches the runner as a command, which its word completes', async () => {
    const { runner, emit, requestId } = await asked();
    const path = `/api/v1/runs/${runner.runId}/commands?afterSeq=1&waitMs=5000`;
    const waiting = api.data(commandPageSchema, 'GET', path, { token: runner.runToken });
    await answer(runner, { answers: requestId, decision: 'deny', prompt: 'use make clean' });
    const { items } = await waiting;
    expect(items).toMatchObject([{ type: 'answer', payload: { decision: 'deny', text: 'use make clean' } }]);
    const commandId = items[0]?.id ?? '';
    await emit(resolves(requestId, 'denied'));
    // The acknowledgement may come after the event that says more.
    const acked = await api.call('POST', `/api/v1/commands/${commandId}/ack`, { token: runner.runToken });
    expect(acked.body.data).toMatchObject({ state: 'completed' });
    expect((await requestOf(runner, requestId)).deliveredAt).not.toBeNull();
  });

  it('is not answered by a message that does not name it', async () => {
    const { runner, requestId } = await asked();
    const sent = await send(api, runner.sessionId, 'yes, approve it');
    expect(sent.decision).toBe('steer');
    expect((await requestOf(runner, requestId)).state).toBe('pending');
  });

  it('is answered once: later answers are told its state, a repeated key the first answer', async () => {
    const { runner, requestId } = await asked();
    const body = { answers: requestId, decision: 'approve', idempotencyKey: `k-${requestId}` };
    const first = await answer(runner, body);
    const repeat = await answer(runner, body);
    expect(
      z.looseObject({ command: z.looseObject({ id: z.string() }) }).parse(repeat.body.data).command.id,
    ).toBe(z.looseObject({ command: z.looseObject({ id: z.string() }) }).parse(first.body.data).command.id);
    const other = await answer(runner, { ...body, decision: 'deny' });
    expect([other.status, other.body.failureKind]).toEqual([409, 'conflict']);
    const late = await answer(runner, { answers: requestId, decision: 'deny' });
    expect([late.status, late.body.failureKind]).toEqual([409, 'conflict']);
    expect(late.body.message).toContain('it is approved');
    expect(await requestOf(runner, requestId)).toMatchObject({ state: 'approved' });
  });

  it('goes to exactly one of many answers that come at once', async () => {
    const { runner, requestId } = await asked();
    const answers = await Promise.all(
      ['approve', 'deny', 'approve', 'deny', 'approve'].map((decision) =>
        answer(runner, { answers: requestId, decision }),
      ),
    );
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 409, 409, 409, 409]);
  });

  it('is planned by a dry run, which changes nothing', async () => {
    const { runner, requestId } = await asked();
    const plan = await answer(runner, { answers: requestId, decision: 'approve', dryRun: true });
    expect(plan.body.data).toMatchObject({ decision: 'answer', request: { commandType: 'answer' } });
    expect((await requestOf(runner, requestId)).state).toBe('pending');
    await answer(runner, { answers: requestId, decision: 'approve' });
    const late = await answer(runner, { answers: requestId, decision: 'approve', dryRun: true });
    expect([late.status, late.body.failureKind]).toEqual([409, 'conflict']);
  });

  it('is listed by run and session, by state and in pages, for its tenant only', async () => {
    const { runner, emit, requestId } = await asked();
    const second = newRequestId();
    await emit(asks(second));
    await answer(runner, { answers: requestId, decision: 'approve' });
    const list = `/api/v1/sessions/${runner.sessionId}/requests`;
    expect((await page(`${list}?state=pending`)).items.map((item) => item.requestId)).toEqual([second]);
    const first = await page(`${list}?limit=1`);
    expect(first).toMatchObject({ items: [{ requestId }], nextCursor: requestId, hasMore: true });
    const last = await page(`${list}?limit=1&cursor=${requestId}`);
    expect(last).toMatchObject({ items: [{ requestId: second }], nextCursor: null, hasMore: false });
    expect((await api.call('GET', `${list}?state=open`)).status).toBe(400);
    const foreign = await startApi(database, {
      apiTokens: [{ name: 'other', token: 'agr_other_0123456789', scopes: ['operate'], tenantId: 'other' }],
    });
    for (const path of [list, `/api/v1/runs/${runner.runId}/requests`])
      expect((await foreign.call('GET', path, { token: 'agr_other_0123456789' })).status).toBe(404);
    await foreign.stop();
  });
});

describe('an answer that does not fit', () => {
  it.each([
    ['approval without a decision', {}, { prompt: 'yes' }, 'decision'],
    ['approval with a decision for questions', {}, { decision: 'answer' }, 'decision'],
    ['approval with answers', {}, { decision: 'approve', questionAnswers: { q: ['a'] } }, 'questionAnswers'],
    ['approval with words', {}, { decision: 'approve', prompt: 'and hurry' }, 'prompt'],
    ['question with a decision', { kind: 'question' }, { decision: 'approve', prompt: 'x' }, 'decision'],
    ['question without an answer', { kind: 'question' }, {}, 'prompt'],
    [
      'two questions with one text',
      { kind: 'question', questions: [question('a'), question('b')] },
      { prompt: 'x' },
      'questionAnswers',
    ],
    [
      'a question left out',
      { kind: 'question', questions: [question('a'), question('b')] },
      { questionAnswers: { a: ['1'] } },
      'questionAnswers.b',
    ],
    [
      'a question that was not asked',
      { kind: 'question', questions: [question('a')] },
      { questionAnswers: { a: ['1'], c: ['2'] } },
      'questionAnswers.c',
    ],
    [
      'a form that is only approved',
      { kind: 'elicitation', questions: [question('a')] },
      { decision: 'approve' },
      'decision',
    ],
    ['a deadline', {}, { decision: 'approve', deadlineAt: '2099-01-01T00:00:00Z' }, 'deadlineAt'],
  ])('%s is 400 and names the field', async (_name, kind, body, field) => {
    const { runner, requestId } = await asked(kind);
    const refused = await answer(runner, { answers: requestId, ...body });
    expect([refused.status, refused.body.failureKind]).toEqual([400, 'schema-invalid']);
    expect(refused.body.error).toMatchObject({ details: { issues: [{ path: field }] } });
    expect((await requestOf(runner, requestId)).state).toBe('pending');
  });

  it.each([
    ['a question by its text', { kind: 'question', questions: [question('a')] }, { prompt: 'the blue one' }],
    [
      'questions by id',
      { kind: 'question', questions: [question('a'), question('b')] },
      { questionAnswers: { a: ['1'], b: ['2', '3'] } },
    ],
    ['an elicitation by its text', { kind: 'elicitation' }, { prompt: '{"name":"x"}', decision: 'answer' }],
  ])('but %s does', async (_name, kind, body) => {
    const { runner, requestId } = await asked(kind);
    expect((await answer(runner, { answers: requestId, ...body })).status).toBe(200);
    expect((await requestOf(runner, requestId)).state).toBe('answered');
  });

  it('names an unknown request, or one of another session: 404', async () => {
    const { requestId } = await asked();
    const other = await startTurn(api);
    for (const answers of [newRequestId(), requestId]) {
      const refused = await answer(other, { answers, decision: 'approve' });
      expect([refused.status, refused.body.failureKind]).toEqual([404, 'not-found']);
    }
  });
});

describe('an elicitation', () => {
  it.each([
    ['approve', 'approved'],
    ['deny', 'denied'],
  ])('without a form is decided: %s', async (decision, state) => {
    const { runner, requestId } = await asked({ kind: 'elicitation' });
    expect((await answer(runner, { answers: requestId, decision })).status).toBe(200);
    expect((await requestOf(runner, requestId)).state).toBe(state);
  });

  it('with a form may leave fields empty', async () => {
    const { runner, requestId } = await asked({
      kind: 'elicitation',
      questions: [question('a'), question('b')],
    });
    expect((await answer(runner, { answers: requestId, questionAnswers: { a: ['1'] } })).status).toBe(200);
    expect((await requestOf(runner, requestId)).state).toBe('answered');
  });
});

describe('the time of a request', () => {
  it('is over when its runner says so and the row agrees; then an answer comes too late', async () => {
    const { runner, requestId } = await asked();
    const early = await expire(runner, requestId);
    expect([early.status, early.body.failureKind]).toEqual([409, 'conflict']);
    await passTime(requestId);
    const over = await expire(runner, requestId);
    expect(over.body.data).toEqual({ requestId, resolution: { resolution: 'timed-out' } });
    expect(await clockOf(runner.runId)).toMatchObject({ paused: false });
    expect((await expire(runner, requestId)).body.data).toEqual(over.body.data);
    const late = await answer(runner, { answers: requestId, decision: 'approve' });
    expect([late.status, late.body.message]).toEqual([409, expect.stringContaining('timed-out')]);
  });

  it('does not undo an answer that came first', async () => {
    const { runner, requestId } = await asked();
    await answer(runner, { answers: requestId, decision: 'approve-for-session' });
    await passTime(requestId);
    expect((await expire(runner, requestId)).body.data).toMatchObject({
      resolution: { resolution: 'approved', forSession: true },
    });
  });

  it('knows no request of another run', async () => {
    const { requestId } = await asked();
    const other = await startTurn(api);
    await passTime(requestId);
    expect((await expire(other, requestId)).status).toBe(404);
  });

  it('is over for a parked run without a runner', async () => {
    const { runner, requestId } = await asked();
    const due = () => withTransaction(database.pool, (tx) => expireDueRequests(tx, runner.runId));
    expect(await due()).toEqual([]);
    await passTime(requestId);
    expect(await due()).toEqual([requestId]);
    expect(await clockOf(runner.runId)).toMatchObject({ paused: false });
  });

  it('has no end when the policy says 0', async () => {
    const sent = await send(api, `no-limit-${process.pid}`, 'x', {
      run: { tenantId: 'acme', projectId: 'web', executionPolicy: { approvalTimeoutMs: 0 } },
    });
    const token = await launchTokenOf(api, sent);
    const { runnerId } = await register(api, token, sent.runnerJob?.id ?? '');
    const { runToken } = await claim(api, sent.run.id, token, runnerId);
    await api.call('POST', `/api/v1/runs/${sent.run.id}/events`, {
      token: runToken,
      body: asks(newRequestId()),
    });
    expect((await page(`/api/v1/runs/${sent.run.id}/requests`)).items).toMatchObject([{ expiresAt: null }]);
  });
});

describe('what a runner says of a request', () => {
  it('never changes one that is resolved', async () => {
    const { runner, emit, requestId } = await asked();
    await answer(runner, { answers: requestId, decision: 'approve' });
    await emit(
      resolves(requestId, 'denied'),
      resolves(requestId, 'withdrawn'),
      resolves(requestId, 'no-channel'),
    );
    expect(await requestOf(runner, requestId)).toMatchObject({ state: 'approved', deliveredAt: null });
  });

  it('cannot approve or time out one that is pending', async () => {
    const { runner, emit, requestId } = await asked();
    for (const word of ['approved', 'answered', 'timed-out', 'superseded'])
      await emit(resolves(requestId, word));
    expect(await requestOf(runner, requestId)).toMatchObject({ state: 'pending', deliveredAt: null });
  });

  it('withdraws a pending one', async () => {
    const { runner, emit, requestId } = await asked();
    await emit(resolves(requestId, 'withdrawn'));
    expect(await requestOf(runner, requestId)).toMatchObject({ state: 'withdrawn', deliveredAt: null });
    expect(await clockOf(runner.runId)).toMatchObject({ paused: false });
  });

  it('stores one without a channel as such, in one batch or in two', async () => {
    const runner = await startTurn(api);
    const emit = producer(runner);
    const [together, apart] = [newRequestId(), newRequestId()];
    await emit(asks(together), resolves(together, 'no-channel'));
    await emit(asks(apart));
    await emit(resolves(apart, 'no-channel'));
    expect((await requestsOf(runner)).map(({ state }) => state)).toEqual(['no-channel', 'no-channel']);
    expect(await clockOf(runner.runId)).toMatchObject({ paused: false });
  });

  it('cannot touch a request of another run', async () => {
    const { runner, requestId } = await asked();
    const other = await startTurn(api);
    await producer(other)(asks(requestId, { summary: 'stolen' }), resolves(requestId, 'withdrawn'));
    expect(await requestOf(runner, requestId)).toMatchObject({
      state: 'pending',
      summary: 'run rm -rf build',
    });
    expect(await requestsOf(other)).toEqual([]);
  });

  it('is only an event when its payload has another shape', async () => {
    const runner = await startTurn(api);
    await producer(runner)({ type: 'approval_requested', payload: { requestId: 'nonsense' } });
    expect(await requestsOf(runner)).toEqual([]);
  });
});

describe('an answer while no runner waits', () => {
  it('goes to the next attempt as a grant, until that says that the agent was told', async () => {
    const { runner, requestId } = await asked();
    await answer(runner, { answers: requestId, decision: 'approve' });
    await database.pool.query(
      `update attempts set ended_at = now(), end_failure_kind = 'runner-lost', end_reason = 'gone' where run_id = $1 and epoch = 1`,
      [runner.runId],
    );
    const assignment = await nextAssignment(runner);
    expect(assignment.grants).toEqual([
      {
        requestId,
        fingerprint: 'f1',
        summary: 'run rm -rf build',
        resolution: { resolution: 'approved', forSession: false },
      },
    ]);
    expect(assignment.resume).toMatchObject({
      attempt: 2,
      maxAttempts: 3,
      formerFailureKind: 'runner-lost',
      formerReason: 'gone',
      parked: null,
      compact: false,
    });
    const served = { ...runner, runToken: assignment.runToken };
    await producer(served)(resolves(requestId, 'approved'));
    expect((await requestOf(runner, requestId)).deliveredAt).not.toBeNull();
    const commands = await database.pool.query(
      `select state from commands where run_id = $1 and type = 'answer'`,
      [runner.runId],
    );
    expect(commands.rows).toEqual([{ state: 'completed' }]);
    expect((await nextAssignment(runner, 3)).grants).toEqual([]);
  });

  it.each([
    ['person', null],
    ['provider-limit', 'provider-rate-limited'],
  ])('a turn that was parked for a %s says so and counts no attempt', async (parked, kind) => {
    const { runner } = await asked();
    await database.pool.query(
      `update attempts set ended_at = now(), counted = false, end_failure_kind = $2 where run_id = $1 and epoch = 1`,
      [runner.runId, kind],
    );
    expect((await nextAssignment(runner)).resume).toMatchObject({ attempt: 1, parked });
  });
});

it('a turn that ends withdraws what its agent asked', async () => {
  const { runner, requestId } = await asked();
  await finishTurn(database.pool, runner.runId, {
    terminalStatus: 'failed',
    failureKind: 'agent-error',
    failureMessage: null,
  });
  expect((await requestOf(runner, requestId)).state).toBe('withdrawn');
  const late = await answer(runner, { answers: requestId, decision: 'approve' });
  expect([late.status, late.body.message]).toEqual([409, expect.stringContaining('withdrawn')]);
});
