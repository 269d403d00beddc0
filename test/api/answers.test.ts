import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { commandRecordSchema } from '../../contract/commands.js';
import { idPrefixes } from '../../contract/ids.js';
import { commandPageSchema } from '../../contract/runners.js';
import { sendAnswerSchema } from '../../contract/sessions.js';
import { forgetAnswers } from '../../store/agent-requests.js';
import { newId } from '../../store/new-id.js';
import { withTransaction } from '../../store/pool.js';
import { storeMessage } from '../../store/session-messages.js';
import { nextAttempt, postEvents, type ServingRunner, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const readerToken = 'agr_reader_0123456789abcdef';
const newCanary = () => `canary-${randomUUID()}`;

/** A run whose agent has asked for a secret. */
async function asked(kind = 'question') {
  const runner = await startTurn(api);
  const requestId = newId(idPrefixes.agentRequest);
  const questions = [{ id: 'pin', header: '', question: 'which PIN?', options: null, secret: true }];
  const payload = {
    requestId,
    kind,
    itemId: null,
    summary: 'asks for a PIN',
    command: null,
    cwd: null,
    reason: null,
    questions: kind === 'question' ? questions : [],
    fingerprint: 'f1',
  };
  const stored = await postEvents(api, runner, [{ seq: 1, event: { type: 'approval_requested', payload } }]);
  expect(stored.status).toBe(200);
  return { runner, requestId };
}

const answer = (runner: ServingRunner, body: Record<string, unknown>) =>
  api.call('POST', `/api/v1/sessions/${runner.sessionId}/send`, { body });
const told = (requestId: string, resolution: string) => ({
  type: 'approval_resolved',
  payload: { requestId, resolution, reason: null },
});

async function answeredWith(canary: string) {
  const { runner, requestId } = await asked();
  const sent = await answer(runner, { answers: requestId, questionAnswers: { pin: [canary] } });
  expect(sent.status).toBe(200);
  const { command } = sendAnswerSchema.parse(sent.body.data);
  return { runner, requestId, sent, command };
}

/** The tables in which a text stands. */
async function tablesWith(text: string): Promise<string[]> {
  const tables = await database.pool.query<{ name: string }>(
    `select table_name as name from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'`,
  );
  const found: string[] = [];
  for (const { name } of tables.rows) {
    const rows = await database.pool.query(`select 1 from ${name} t where strpos(t::text, $1) > 0 limit 1`, [
      text,
    ]);
    if (rows.rows.length > 0) found.push(name);
  }
  return found.toSorted();
}

/** What the runner of a later attempt is told. */
const nextAssignment = async (runner: ServingRunner, epoch = 2) =>
  (await nextAttempt(api, database.pool, runner, epoch)).assignment;

describe('the words of an answer', () => {
  it('are in no answer of the API, whatever the scope', async () => {
    const canary = newCanary();
    const { runner, requestId, sent, command } = await answeredWith(canary);
    expect(sent.text).not.toContain(canary);
    expect(command.payload).toEqual({ requestId, decision: 'answer' });
    const run = `/api/v1/runs/${runner.runId}`;
    const session = `/api/v1/sessions/${runner.sessionId}`;
    const paths = [
      run,
      `${run}/commands`,
      `${run}/commands/${command.id}`,
      `${run}/commands/${command.id}/result`,
      `${run}/requests`,
      `${run}/events`,
      `${run}/result`,
      session,
      `${session}/requests`,
      `${session}/trace`,
      `${session}/output`,
    ];
    const answers = await Promise.all(
      [undefined, readerToken].flatMap((token) =>
        paths.map(async (path) => ({
          path,
          ...(await api.call('GET', path, token === undefined ? {} : { token })),
        })),
      ),
    );
    for (const { path, status, text } of answers) {
      expect([path, status]).toEqual([path, 200]);
      expect(text).not.toContain(canary);
    }
    const again = await answer(runner, { answers: requestId, questionAnswers: { pin: [canary] } });
    expect([again.status, again.text.includes(canary)]).toEqual([409, false]);
  });

  it('are for the runner that holds the run, until another one does', async () => {
    const canary = newCanary();
    const { runner, command } = await answeredWith(canary);
    const path = `/api/v1/runs/${runner.runId}/commands`;
    const token = runner.runToken;
    const whole = { payload: { answers: { pin: [canary] } } };
    const page = await api.data(commandPageSchema, 'GET', `${path}?afterSeq=1`, { token });
    expect(page.items).toMatchObject([whole]);
    expect(await api.data(commandRecordSchema, 'GET', `${path}/${command.id}`, { token })).toMatchObject(
      whole,
    );
    const assignment = await nextAssignment(runner);
    expect(assignment.grants).toMatchObject([{ resolution: { answers: { pin: [canary] } } }]);
    for (const old of [path, `${path}/${command.id}`]) {
      const refused = await api.call('GET', old, { token });
      expect([refused.status, refused.text.includes(canary)]).toEqual([409, false]);
    }
  });

  it('stand where they are needed, and are overwritten when the agent was told', async () => {
    const canary = newCanary();
    const { runner, requestId } = await answeredWith(canary);
    expect(await tablesWith(canary)).toEqual(['agent_requests', 'commands']);
    await postEvents(api, runner, [{ seq: 2, event: told(requestId, 'answered') }]);
    expect(await tablesWith(canary)).toEqual([]);
  });

  it('are overwritten in a denial too', async () => {
    const canary = newCanary();
    const { runner, requestId } = await asked('command');
    await answer(runner, { answers: requestId, decision: 'deny', prompt: canary });
    expect(await tablesWith(canary)).toEqual(['agent_requests', 'commands']);
    await postEvents(api, runner, [{ seq: 2, event: told(requestId, 'denied') }]);
    expect(await tablesWith(canary)).toEqual([]);
  });

  it('are not kept of an answer that comes too late', async () => {
    const canary = newCanary();
    const { runner, requestId } = await answeredWith('first');
    const late = await answer(runner, { answers: requestId, questionAnswers: { pin: [canary] } });
    expect(late.status).toBe(409);
    expect(await tablesWith(canary)).toEqual([]);
  });

  it('are overwritten at the end of the run, also those that nobody has decided about; those of other runs stay', async () => {
    const [delivered, undecided, foreign] = [newCanary(), newCanary(), newCanary()];
    const { runner, requestId } = await answeredWith(delivered);
    const other = await answeredWith(foreign);
    const message = (sessionId: string, answers: string, text: string) =>
      storeMessage(database.pool, {
        tenantId: 'acme',
        sessionId,
        route: 'send',
        idempotencyKey: null,
        bodyHash: randomUUID(),
        body: { answer: { requestId: answers, decision: 'answer', text, answers: null } },
        runId: null,
        traceparent: null,
      });
    await message(runner.sessionId, requestId, undecided);
    await message(other.runner.sessionId, other.requestId, foreign);
    await withTransaction(database.pool, (tx) => forgetAnswers(tx, runner.runId));
    expect(await tablesWith(delivered)).toEqual([]);
    expect(await tablesWith(undecided)).toEqual([]);
    expect(await tablesWith(foreign)).toEqual(['agent_requests', 'commands', 'session_messages']);
    const prompt = await database.pool.query<{ payload: unknown }>(
      `select payload from commands where run_id = $1 and type = 'turn'`,
      [runner.runId],
    );
    expect(prompt.rows).toEqual([{ payload: { prompt: 'do it' } }]);
  });
});

describe('an answer that an agent was told', () => {
  const spill = (runner: ServingRunner, runToken: string, lines: readonly unknown[]) =>
    api.call('POST', `/api/v1/runs/${runner.runId}/ingest?spilledEpoch=1`, {
      token: runToken,
      headers: { 'content-type': 'application/x-ndjson' },
      body: lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
    });
  const requestOf = async (requestId: string) =>
    (
      await database.pool.query<Record<string, unknown>>(
        `select q.state, q.delivered_at is not null as delivered, c.state as command from agent_requests q
           left join commands c on c.command_id = q.answer_command_id where q.request_id = $1`,
        [requestId],
      )
    ).rows[0];
  async function approved() {
    const { runner, requestId } = await asked('command');
    const sent = await answer(runner, { answers: requestId, decision: 'approve' });
    const { command } = z.object({ command: commandRecordSchema }).parse(sent.body.data);
    return { runner, requestId, command };
  }

  it('is given to no later one: the event of it was spilled', async () => {
    const { runner, requestId } = await approved();
    const second = await nextAssignment(runner);
    const brought = await spill(runner, second.runToken, [{ seq: 2, event: told(requestId, 'approved') }]);
    expect(brought.body.data).toMatchObject({ accepted: 1 });
    expect(await requestOf(requestId)).toEqual({ state: 'approved', delivered: true, command: 'completed' });
    expect((await nextAssignment(runner, 3)).grants).toEqual([]);
  });

  it('is given to no later one: the event of it came late', async () => {
    const { runner, requestId } = await approved();
    await nextAssignment(runner);
    const late = await postEvents(api, runner, [{ seq: 2, event: told(requestId, 'approved') }]);
    expect([late.status, late.body.failureKind]).toEqual([409, 'fenced']);
    expect(await requestOf(requestId)).toMatchObject({ delivered: true });
  });

  it('is given to no later one: the runner had acknowledged it', async () => {
    const { runner, command } = await approved();
    const acknowledged = await api.call('POST', `/api/v1/commands/${command.id}/ack`, {
      token: runner.runToken,
    });
    expect(acknowledged.status).toBe(200);
    expect((await nextAssignment(runner)).grants).toEqual([]);
  });

  it('counts only as the row says, and a late event resolves nothing', async () => {
    const { runner, requestId } = await approved();
    const { runner: parked, requestId: open } = await asked('command');
    const [second, next] = [await nextAssignment(runner), await nextAssignment(parked)];
    await spill(runner, second.runToken, [{ seq: 2, event: told(requestId, 'denied') }]);
    expect(await requestOf(requestId)).toMatchObject({ state: 'approved', delivered: false });
    await database.pool.query(`update agent_requests set state = 'pending' where request_id = $1`, [open]);
    await spill(parked, next.runToken, [{ seq: 2, event: told(open, 'withdrawn') }]);
    expect(await requestOf(open)).toMatchObject({ state: 'pending' });
  });
});
