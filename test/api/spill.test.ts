import { describe, expect, it } from 'vitest';
import { ingestAnswerSchema } from '../../contract/ingest.js';
import { writeAttempt } from '../../store/turn-steps.js';
import { attemptSettings } from '../support/api.js';
import { messageLines, nextAttempt, postEvents, type ServingRunner, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

/** A run whose attempt 1 had `acknowledged` events stored, and the runner of attempt 2. */
async function secondAttempt(acknowledged: number) {
  const first = await startTurn(api);
  if (acknowledged > 0) await postEvents(api, first, messageLines(1, acknowledged));
  const second = await nextAttempt(api, database.pool, first);
  return { first, second };
}

const spill = (runner: ServingRunner, epoch: unknown, lines: readonly unknown[]) =>
  api.call('POST', `/api/v1/runs/${runner.runId}/ingest?spilledEpoch=${String(epoch)}`, {
    token: runner.runToken,
    headers: { 'content-type': 'application/x-ndjson' },
    body: lines.map((line) => `${JSON.stringify(line)}\n`).join(''),
  });
const quarantined = async (runId: string) =>
  (
    await database.pool.query<{ epoch: number; seq: number; reason: string }>(
      'select epoch, producer_seq as seq, reason from quarantined_events where run_id = $1 order by epoch, producer_seq',
      [runId],
    )
  ).rows;
const lateOf = async (runId: string) =>
  (
    await database.pool.query<{ late: number }>(
      'select late_events as late from run_projections where run_id = $1',
      [runId],
    )
  ).rows[0]?.late ?? 0;
const logOf = async (runId: string) => {
  const query = 'select last_seq, epoch, last_producer_seq from run_log where run_id = $1';
  return JSON.stringify((await database.pool.query(query, [runId])).rows);
};

describe('what an earlier attempt could not send', () => {
  it('is kept in quarantine once; what was stored before is left out, the log is as it was', async () => {
    const { first, second } = await secondAttempt(3);
    const before = await logOf(first.runId);
    const answer = await spill(second, 1, messageLines(2, 6));
    expect(ingestAnswerSchema.parse(answer.body.data)).toEqual({
      accepted: 3,
      duplicate: 2,
      lastAcceptedSeq: 6,
    });
    const kept = [4, 5, 6].map((seq) => ({ epoch: 1, seq, reason: 'fenced' }));
    expect(await quarantined(first.runId)).toEqual(kept);
    expect(await lateOf(first.runId)).toBe(3);
    const again = await spill(second, 1, messageLines(1, 7));
    expect(again.body.data).toMatchObject({ accepted: 1, duplicate: 6, lastAcceptedSeq: 7 });
    expect(await quarantined(first.runId)).toEqual([...kept, { epoch: 1, seq: 7, reason: 'fenced' }]);
    expect(await lateOf(first.runId)).toBe(4);
    expect(await logOf(first.runId)).toEqual(before);
  });

  it('is counted once when old and new runner bring it at the same time', async () => {
    const { first, second } = await secondAttempt(0);
    const lines = messageLines(1, 50);
    const answers = await Promise.all([
      spill(second, 1, lines),
      postEvents(api, first, lines),
      spill(second, 1, lines),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([200, 409, 200]);
    expect(await quarantined(first.runId)).toHaveLength(50);
    expect(await lateOf(first.runId)).toBe(50);
  });

  it('does not count among the events of the attempt that brings it', async () => {
    const { first, second } = await secondAttempt(1);
    await spill(second, 1, messageLines(2, 3));
    const own = await postEvents(api, second, messageLines(1, 2));
    expect(own.body.data).toEqual({ accepted: 2, duplicate: 0, lastAcceptedSeq: 2 });
    expect(await quarantined(first.runId)).toHaveLength(2);
  });

  it.each([2, 3, 0, 'one', '-1', '1.5'])('of the epoch %s is 400', async (epoch) => {
    const { second } = await secondAttempt(0);
    const answer = await spill(second, epoch, messageLines(1, 1));
    expect([answer.status, answer.body.failureKind]).toEqual([400, 'schema-invalid']);
    expect(answer.body.message).toContain('query.spilledEpoch');
    expect(await quarantined(second.runId)).toEqual([]);
  });

  it('is taken from the runner that holds the run only', async () => {
    const { first, second } = await secondAttempt(0);
    await writeAttempt(database.pool, attemptSettings, first.runId, 3);
    const answer = await spill(second, 1, messageLines(1, 1));
    expect([answer.status, answer.body.failureKind]).toEqual([409, 'fenced']);
    expect(await quarantined(first.runId)).toEqual([]);
  });

  it('keeps the lines before one that is malformed, and says which', async () => {
    const { second } = await secondAttempt(0);
    const answer = await spill(second, 1, [...messageLines(1, 2), { seq: 'x' }]);
    expect([answer.status, answer.body.error]).toMatchObject([400, { details: { accepted: 2 } }]);
    expect(await quarantined(second.runId)).toHaveLength(2);
  });
});

describe('the first output of an attempt', () => {
  const firstOutput = async (runId: string) =>
    (
      await database.pool.query<{ at: Date | null }>(
        'select first_output_at as at from attempts where run_id = $1 and epoch = 1',
        [runId],
      )
    ).rows[0]?.at ?? null;
  const beat = (runner: ServingRunner, outputSeen: boolean, lastEventAt: string | null = null) =>
    api.call('PATCH', `/api/v1/runs/${runner.runId}/lease`, {
      token: runner.runToken,
      body: {
        runnerId: runner.runnerId,
        progress: { phase: 'turn', lastEventAt, notifications: 1, outputSeen },
      },
    });

  it.each(['agent_message', 'reasoning', 'plan', 'command_execution', 'tool_call', 'diff'])(
    'is a %s',
    async (type) => {
      const runner = await startTurn(api);
      for (const [index, quiet] of ['backend_status', 'user_message', 'usage', 'error'].entries())
        await postEvents(api, runner, [{ seq: index + 1, event: { type: quiet, payload: {} } }]);
      expect(await firstOutput(runner.runId)).toBeNull();
      await postEvents(api, runner, [{ seq: 5, event: { type, payload: {} } }]);
      const at = await firstOutput(runner.runId);
      expect(at).not.toBeNull();
      await postEvents(api, runner, [{ seq: 6, event: { type, payload: {} } }]);
      expect(await firstOutput(runner.runId)).toEqual(at);
    },
  );

  it('is no retry note, nor is that progress for the idle limit', async () => {
    const runner = await startTurn(api);
    const progress = async () =>
      (
        await database.pool.query<{ at: Date | null; begun: boolean }>(
          'select last_progress_at as at, first_event_at is not null as begun from attempts where run_id = $1',
          [runner.runId],
        )
      ).rows[0];
    const retry = { type: 'error', payload: { willRetry: true, message: 'again' } };
    const usage = { type: 'usage', payload: { source: 'proxy', httpStatus: 429 } };
    const boot = { type: 'backend_status', payload: { phase: 'boot', steps: [] } };
    await postEvents(
      api,
      runner,
      [retry, usage, boot].map((event, index) => ({ seq: index + 1, event })),
    );
    expect(await progress()).toEqual({ at: null, begun: true });
    expect(await firstOutput(runner.runId)).toBeNull();
    await postEvents(api, runner, [{ seq: 4, event: { type: 'agent_message', payload: {} } }]);
    const spoken = await progress();
    expect(spoken).toMatchObject({ at: expect.any(Date) });
    await database.pool.query(
      `update attempts set last_progress_at = last_progress_at - interval '1 hour' where run_id = $1`,
      [runner.runId],
    );
    const before = await progress();
    await postEvents(api, runner, [{ seq: 5, event: retry }]);
    expect(await progress()).toEqual(before);
    await postEvents(api, runner, [{ seq: 6, event: { type: 'reasoning', payload: {} } }]);
    expect(await progress()).not.toEqual(before);
  });

  it('is what a heartbeat says, once', async () => {
    const runner = await startTurn(api);
    await beat(runner, false);
    expect(await firstOutput(runner.runId)).toBeNull();
    await beat(runner, true);
    const at = await firstOutput(runner.runId);
    expect(at).not.toBeNull();
    await beat(runner, true);
    await beat(runner, true, new Date().toISOString());
    expect(await firstOutput(runner.runId)).toEqual(at);
  });
});

it('a turn that is resumed goes on in the thread that it had opened', async () => {
  const first = await startTurn(api);
  await postEvents(api, first, [
    { seq: 1, event: { type: 'backend_status', payload: { phase: 'thread-opened', threadId: 'thread-7' } } },
  ]);
  const { assignment } = await nextAttempt(api, database.pool, first);
  expect(first.assignment).toMatchObject({ threadId: null, resume: null, grants: [] });
  expect(assignment).toMatchObject({
    threadId: 'thread-7',
    resume: { attempt: 2, maxAttempts: 3 },
    grants: [],
  });
});
