import { request as httpRequest } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { eventPageSchema } from '../../contract/events.js';
import { runResultSchema } from '../../contract/runs.js';
import { finishTurn, writeAttempt } from '../../store/turn-steps.js';
import { attemptSettings } from '../support/api.js';
import {
  claim,
  messageLines,
  postEvents,
  register,
  type ServingRunner,
  startTurn,
} from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { database, api } = await useApi();

const messages = async (runId: string) => {
  const page = await api.data(eventPageSchema, 'GET', `/api/v1/runs/${runId}/events?limit=1000`);
  expect(page.items.map((event) => event.seq)).toEqual(page.items.map((_, index) => index + 1));
  return page.items.filter((event) => event.type === 'agent_message').map((event) => event.payload.text);
};
const texts = (count: number) => Array.from({ length: count }, (_, index) => `message ${index + 1}`);
const counts = (accepted: number, duplicate: number, lastAcceptedSeq: number) => ({
  accepted,
  duplicate,
  lastAcceptedSeq,
});
const detailsOf = (answer: { body: Record<string, unknown> }) =>
  (answer.body.error as { details?: unknown }).details;

describe('ingest', () => {
  it('appends in order, counts a replay and an overlap as duplicates, answers a probe', async () => {
    const runner = await startTurn(api);
    const post = async (from: number, to: number) =>
      (await postEvents(api, runner, messageLines(from, to))).body.data;
    expect((await postEvents(api, runner, [])).body.data).toEqual(counts(0, 0, 0));
    expect(await post(1, 5)).toEqual(counts(5, 0, 5));
    expect(await post(1, 5)).toEqual(counts(0, 5, 5));
    expect(await post(4, 8)).toEqual(counts(3, 2, 8));
    expect((await postEvents(api, runner, [])).body.data).toEqual(counts(0, 0, 8));
    expect(await messages(runner.runId)).toEqual(texts(8));
  });

  it('refuses what comes after a gap, keeps what came before it', async () => {
    const runner = await startTurn(api);
    const answer = await postEvents(api, runner, [...messageLines(1, 2), ...messageLines(4, 5)]);
    expect([answer.status, answer.body.failureKind, detailsOf(answer)]).toEqual([
      409,
      'conflict',
      { ...counts(2, 0, 2), reason: 'gap' },
    ]);
    expect(await messages(runner.runId)).toEqual(texts(2));
  });

  it('stores each event once when the same batches come at the same time', async () => {
    const runner = await startTurn(api);
    const batches = [
      messageLines(1, 50),
      messageLines(1, 30),
      messageLines(1, 50),
      messageLines(1, 10),
      messageLines(1, 50),
    ];
    const answers = await Promise.all(batches.map((batch) => postEvents(api, runner, batch)));
    expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200, 200, 200]);
    expect(await messages(runner.runId)).toEqual(texts(50));
  });

  it('keeps the events of a replaced attempt in quarantine, once, and begins anew for the next', async () => {
    const runner = await startTurn(api);
    await postEvents(api, runner, messageLines(1, 3));
    await writeAttempt(database.pool, attemptSettings, runner.runId, 2);
    for (const attempt of [1, 2]) {
      const answer = await postEvents(api, runner, messageLines(2, 6));
      expect([attempt, answer.status, answer.body.failureKind]).toEqual([attempt, 409, 'fenced']);
      expect(detailsOf(answer)).toEqual(counts(0, 0, 3));
    }
    expect(await messages(runner.runId)).toEqual(texts(3));
    const result = await api.data(runResultSchema, 'GET', `/api/v1/runs/${runner.runId}/result`);
    expect(result.late).toBe(3);
    const second = await claimSecond(runner);
    expect((await postEvents(api, second, [])).body.data).toEqual(counts(0, 0, 0));
    expect((await postEvents(api, second, messageLines(1, 2))).body.data).toEqual(counts(2, 0, 2));
    expect((await messages(runner.runId)).length).toBe(5);
  });

  it('keeps late events out of the log, whose last is the terminal event', async () => {
    const runner = await startTurn(api);
    await postEvents(api, runner, messageLines(1, 1));
    const racing = Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        await sleep(index);
        return postEvents(api, runner, messageLines(1, index + 2));
      }),
    );
    await sleep(8);
    await finishTurn(database.pool, runner.runId, {
      terminalStatus: 'failed',
      failureKind: 'runner-lost',
      failureMessage: null,
    });
    await racing;
    const page = await api.data(eventPageSchema, 'GET', `/api/v1/runs/${runner.runId}/events?limit=1000`);
    expect(page.terminal).toBe(true);
    expect(page.items.at(-1)?.type).toBe('terminal_status');
    expect(page.items.filter((event) => event.type === 'terminal_status')).toHaveLength(1);
    const late = await postEvents(api, runner, messageLines(30, 31));
    expect([late.status, late.body.failureKind]).toEqual([409, 'conflict']);
  });

  it('reads lines cut anywhere, CRLF, blank lines, and a last line without an end', async () => {
    const runner = await startTurn(api);
    const bytes = Buffer.from(
      ['', ...messageLines(1, 3).map((line) => JSON.stringify(line).replace('message 2', 'mässäge 2')), ' ']
        .join('\r\n')
        .trimEnd(),
    );
    const status = await new Promise<number>((resolve, reject) => {
      const sent = httpRequest(
        `${api.url}/api/v1/runs/${runner.runId}/ingest`,
        {
          method: 'POST',
          headers: { authorization: `Bearer ${runner.runToken}`, 'content-type': 'application/x-ndjson' },
        },
        (response) => {
          response.resume();
          response.once('end', () => resolve(response.statusCode ?? 0));
        },
      );
      sent.once('error', reject);
      void (async () => {
        for (let at = 0; at < bytes.length; at += 7) {
          sent.write(bytes.subarray(at, at + 7));
          if (at % 70 === 0) await sleep(1);
        }
        sent.end();
      })();
    });
    expect(status).toBe(200);
    expect(await messages(runner.runId)).toEqual(['message 1', 'mässäge 2', 'message 3']);
  });

  it.each([
    ['no JSON', '{"seq": 2', 400],
    ['a sequence as text', '{"seq":"2","event":{"type":"diff","payload":{}}}', 400],
    ['a fractional sequence', '{"seq":2.5,"event":{"type":"diff","payload":{}}}', 400],
    ['an unknown type', '{"seq":2,"event":{"type":"nonsense","payload":{}}}', 400],
    [
      'a year that no calendar has',
      '{"seq":2,"event":{"type":"diff","at":"0000-01-01T00:00:00Z","payload":{}}}',
      400,
    ],
    ['an event that is a list', '{"seq":2,"event":[]}', 400],
    ['an unknown field', '{"seq":2,"event":{"type":"diff","payload":{}},"x":1}', 400],
    [
      'a line that is too long',
      `{"seq":2,"event":{"type":"diff","payload":{"diff":"${'x'.repeat(1_000_001)}"}}}`,
      413,
    ],
  ])('%s refuses this line, keeps what came before it', async (_name, line, status) => {
    const runner = await startTurn(api);
    const answer = await api.call('POST', `/api/v1/runs/${runner.runId}/ingest`, {
      token: runner.runToken,
      headers: { 'content-type': 'application/x-ndjson' },
      body: `${JSON.stringify(messageLines(1, 1)[0])}\n${line}\n`,
    });
    expect([answer.status, (detailsOf(answer) as { lastAcceptedSeq: number }).lastAcceptedSeq]).toEqual([
      status,
      1,
    ]);
    expect(await messages(runner.runId)).toEqual(texts(1));
  });

  it('takes 1,000 events and refuses the next', async () => {
    const runner = await startTurn(api);
    const answer = await postEvents(api, runner, messageLines(1, 1_001));
    expect([answer.status, detailsOf(answer)]).toEqual([
      413,
      { limit: 'eventsPerRequest', ...counts(1_000, 0, 1_000) },
    ]);
  });

  it('stores what jsonb cannot hold, replaced', async () => {
    const runner = await startTurn(api);
    const payload = { itemId: 'x', text: 'a\u0000b \ud800 c', '\u0000': 1 };
    expect(
      (await postEvents(api, runner, [{ seq: 1, event: { type: 'agent_message', payload } }])).status,
    ).toBe(200);
    expect(await messages(runner.runId)).toEqual(['a\ufffdb \ufffd c']);
  });

  it('wakes a reader within a second', async () => {
    const runner = await startTurn(api);
    const { lastSeq } = await api.data(eventPageSchema, 'GET', `/api/v1/runs/${runner.runId}/events`);
    const path = `/api/v1/sessions/${runner.sessionId}/trace?afterSeq=${lastSeq}&waitMs=20000`;
    const poll = api.data(eventPageSchema, 'GET', path);
    await sleep(200);
    const sentAt = performance.now();
    await postEvents(api, runner, messageLines(1, 1));
    expect((await poll).items).toHaveLength(1);
    expect(performance.now() - sentAt).toBeLessThan(1_000);
  });
});

/** The runner of attempt 2, as if its launcher had started it. */
async function claimSecond(runner: ServingRunner): Promise<ServingRunner> {
  const job = await database.pool.query<{ job_id: string; job_name: string }>(
    'select job_id, job_name from runner_jobs where run_id = $1 and epoch = 2',
    [runner.runId],
  );
  const { job_id: jobId = '', job_name: jobName = '' } = job.rows[0] ?? {};
  const { token } = await api.deps.runnerTokens.mintLaunch(
    { run: runner.runId, epoch: 2, job: jobName, jobId },
    60_000,
  );
  const { runnerId } = await register(api, token, jobId);
  const { runToken } = await claim(api, runner.runId, token, runnerId);
  return { ...runner, jobName, runnerId, runToken };
}
