import { describe, expect, it } from 'vitest';
import { eventPageSchema, runEventSchema } from '../../contract/events.js';
import { runResultSchema } from '../../contract/runs.js';
import { finishTurn, writeAttempt } from '../../store/turn-steps.js';
import { attemptSettings } from '../support/api.js';
import {
  messageLines,
  newSessionId,
  nextAttempt,
  postEvents,
  type ServingRunner,
  startTurn,
} from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const complete = (finalSeq: number) => ({ complete: { finalSeq } });
const refusal = async (posted: ReturnType<typeof postEvents>) => {
  const { status, body } = await posted;
  return { status, details: (body.error as { details?: unknown }).details };
};
const refused = (reason: string, lastAcceptedSeq: number) => ({
  status: 409,
  details: { accepted: 0, duplicate: 0, lastAcceptedSeq, reason },
});
const quarantined = async (runId: string) =>
  (
    await database.pool.query<{ seq: number | null; reason: string }>(
      'select producer_seq as seq, reason from quarantined_events where run_id = $1 order by quarantine_id',
      [runId],
    )
  ).rows;
const late = async (runId: string) =>
  (await api.data(runResultSchema, 'GET', `/api/v1/runs/${runId}/result`)).late;
const eventsOf = async (runId: string) =>
  (await api.data(eventPageSchema, 'GET', `/api/v1/runs/${runId}/events?limit=1000`)).items;

describe('the completion of a stream', () => {
  it('comes with the last events or after them, and a repeat is answered the same', async () => {
    const runner = await startTurn(api);
    const last = [...messageLines(1, 3), complete(3)];
    expect((await postEvents(api, runner, last)).body.data).toEqual({
      accepted: 3,
      duplicate: 0,
      lastAcceptedSeq: 3,
    });
    for (const again of [[complete(3)], last, []])
      expect((await postEvents(api, runner, again)).body.data).toMatchObject({
        accepted: 0,
        lastAcceptedSeq: 3,
      });
  });

  it('of a producer that sent nothing names 0', async () => {
    const runner = await startTurn(api);
    for (let time = 0; time < 2; time += 1)
      expect((await postEvents(api, runner, [complete(0)])).body.data).toMatchObject({ lastAcceptedSeq: 0 });
    expect(await refusal(postEvents(api, runner, messageLines(1, 1)))).toEqual(refused('completed', 0));
  });

  it('that names another event changes nothing: what is missing can still come', async () => {
    const runner = await startTurn(api);
    await postEvents(api, runner, messageLines(1, 2));
    expect(await refusal(postEvents(api, runner, [complete(3)]))).toEqual(refused('completion-mismatch', 2));
    const whole = await postEvents(api, runner, [...messageLines(3, 3), complete(3)]);
    expect(whole.status).toBe(200);
    expect(await refusal(postEvents(api, runner, [complete(2)]))).toEqual(refused('completion-mismatch', 3));
  });

  it('is the last of the epoch: what comes after it is kept in quarantine once, and counted', async () => {
    const runner = await startTurn(api);
    await postEvents(api, runner, [...messageLines(1, 2), complete(2)]);
    for (let time = 0; time < 2; time += 1)
      expect(await refusal(postEvents(api, runner, messageLines(2, 4)))).toEqual(refused('completed', 2));
    expect(await refusal(postEvents(api, runner, [...messageLines(5, 5), complete(5)]))).toEqual(
      refused('completed', 2),
    );
    expect(await quarantined(runner.runId)).toEqual([3, 4, 5].map((seq) => ({ seq, reason: 'completed' })));
    expect(await late(runner.runId)).toBe(3);
    expect((await eventsOf(runner.runId)).filter(({ type }) => type === 'agent_message')).toHaveLength(2);
  });

  it('leaves the log open to the control plane, and to the next epoch', async () => {
    const first = await startTurn(api);
    await postEvents(api, first, [...messageLines(1, 1), complete(1)]);
    const second = await nextAttempt(api, database.pool, first);
    expect((await postEvents(api, first, [complete(1)])).body.failureKind).toBe('fenced');
    expect((await postEvents(api, second, messageLines(1, 2))).body.data).toMatchObject({ accepted: 2 });
    expect((await postEvents(api, second, [complete(2)])).status).toBe(200);
    await finishTurn(database.pool, first.runId, {
      terminalStatus: 'failed',
      failureKind: 'agent-error',
      failureMessage: null,
    });
    expect((await eventsOf(first.runId)).at(-1)?.type).toBe('terminal_status');
    // Its answer may have been lost on the way.
    expect((await postEvents(api, second, [complete(2)])).status).toBe(200);
    expect(await refusal(postEvents(api, second, messageLines(3, 3)))).toEqual(refused('ended', 2));
  });

  it('is decided by one of two that come at the same time', async () => {
    for (let round = 0; round < 10; round += 1) {
      const runner = await startTurn(api);
      await postEvents(api, runner, messageLines(1, 1));
      const [completed, event] = await Promise.all([
        postEvents(api, runner, [complete(1)]),
        postEvents(api, runner, messageLines(2, 2)),
      ]);
      // Either the event was first, and the completion names another; or it is late.
      expect([completed.status, event.status].toSorted((left, right) => left - right)).toEqual([200, 409]);
    }
  });
});

describe('one event without a sequence', () => {
  const append = (runner: ServingRunner, text: string, key?: string) =>
    api.call('POST', `/api/v1/runs/${runner.runId}/events`, {
      token: runner.runToken,
      body: { type: 'agent_message', payload: { itemId: 'i', text } },
      ...(key === undefined ? {} : { headers: { 'idempotency-key': key } }),
    });
  const textsOf = async (runId: string) =>
    (await eventsOf(runId)).filter(({ type }) => type === 'agent_message').map(({ payload }) => payload.text);

  it('is the next of its epoch, as if it had been counted', async () => {
    const runner = await startTurn(api);
    await postEvents(api, runner, messageLines(1, 2));
    const stored = runEventSchema.parse((await append(runner, 'third')).body.data);
    expect(stored).toMatchObject({ epoch: 1, type: 'agent_message', payload: { text: 'third' } });
    expect((await postEvents(api, runner, [])).body.data).toMatchObject({ lastAcceptedSeq: 3 });
    expect((await postEvents(api, runner, messageLines(4, 4))).status).toBe(200);
    expect(await textsOf(runner.runId)).toEqual(['message 1', 'message 2', 'third', 'message 4']);
  });

  it('is stored once for each key: a repeat is answered with it, another event is refused', async () => {
    const runner = await startTurn(api);
    const key = newSessionId();
    const answers = await Promise.all([1, 2, 3].map(() => append(runner, 'once', key)));
    const [first, ...others] = answers.map(({ body }) => runEventSchema.parse(body.data));
    expect(others).toEqual([first, first]);
    expect(answers.filter(({ headers }) => headers.get('idempotency-replayed') === 'true')).toHaveLength(2);
    expect((await append(runner, 'other', key)).status).toBe(409);
    await append(runner, 'once');
    expect(await textsOf(runner.runId)).toEqual(['once', 'once']);
  });

  it('that comes too late is kept in quarantine, and with a key once', async () => {
    const runner = await startTurn(api);
    await postEvents(api, runner, [complete(0)]);
    const key = newSessionId();
    for (let time = 0; time < 2; time += 1)
      expect(await refusal(append(runner, 'late', key))).toEqual(refused('completed', 0));
    expect(await quarantined(runner.runId)).toEqual([{ seq: null, reason: 'completed' }]);
    await writeAttempt(database.pool, attemptSettings, runner.runId, 2);
    expect((await append(runner, 'later')).body.failureKind).toBe('fenced');
    expect(await late(runner.runId)).toBe(2);
  });

  it('is forgotten with its session: a key holds where the event is, never the event', async () => {
    const runner = await startTurn(api);
    await append(runner, 'a word', newSessionId());
    const kept = await database.pool.query<{ answer: object }>(
      `select answer from idempotency_keys where answer ->> 'sessionId' = $1 and route like '%/events'`,
      [runner.sessionId],
    );
    expect(kept.rows).toHaveLength(1);
    expect(JSON.stringify(kept.rows)).not.toContain('a word');
  });
});
