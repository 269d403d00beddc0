import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { createApp } from '../../api/app.js';
import { serve } from '../../api/serve.js';
import { ingestAnswerSchema, ingestLimits } from '../../contract/ingest.js';
import { finishTurn, writeAttempt } from '../../store/turn-steps.js';
import { type ApiAnswer, attemptSettings } from '../support/api.js';
import { sendRaw } from '../support/raw-http.js';
import { messageLines, postEvents, type ServingRunner, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const ingestBodyMs = 400;
const { database, api } = await useApi({ ingestBodyMs });

const post = (
  runner: ServingRunner,
  body: string | Uint8Array,
  options: { token?: string; type?: string } = {},
) =>
  api.call('POST', `/api/v1/runs/${runner.runId}/ingest`, {
    token: options.token ?? runner.runToken,
    headers: { 'content-type': options.type ?? 'application/x-ndjson' },
    body,
  });
const ndjson = (lines: readonly unknown[]) => lines.map((line) => `${JSON.stringify(line)}\n`).join('');
const detailsOf = ({ body }: Pick<ApiAnswer, 'body'>) => (body.error as { details?: unknown }).details;
const storedOf = async (runId: string) =>
  (
    await database.pool.query<{ seq: number }>(
      'select producer_seq as seq from events where run_id = $1 and producer_seq is not null order by seq',
      [runId],
    )
  ).rows.map(({ seq }) => seq);
const probe = async (runner: ServingRunner) =>
  ingestAnswerSchema.parse((await postEvents(api, runner, [])).body.data).lastAcceptedSeq;

/** A run of which events 1 and 2 are stored. */
async function begun(): Promise<ServingRunner> {
  const runner = await startTurn(api);
  expect((await postEvents(api, runner, messageLines(1, 2))).status).toBe(200);
  return runner;
}

const another = await startTurn(api);
const padding = 'x'.repeat(ingestLimits.lineBytes);

interface Row {
  readonly name: string;
  readonly ask: (runner: ServingRunner) => Promise<ApiAnswer>;
  readonly answer: readonly [status: number, failureKind?: string];
  /** What the details, or the data of a 200, hold. */
  readonly holds?: object;
  /** The sequences that are stored afterwards. */
  readonly stored?: readonly number[];
}

// requirements.md A.1.a 8, with 5, 9 and 10.
const table: readonly Row[] = [
  {
    name: 'events that follow',
    ask: (runner) => post(runner, ndjson(messageLines(3, 4))),
    answer: [200],
    holds: { accepted: 2, duplicate: 0, lastAcceptedSeq: 4 },
    stored: [1, 2, 3, 4],
  },
  {
    name: 'events that are known',
    ask: (runner) => post(runner, ndjson(messageLines(1, 2))),
    answer: [200],
    holds: { accepted: 0, duplicate: 2, lastAcceptedSeq: 2 },
  },
  {
    name: 'nothing, as a probe',
    ask: (runner) => post(runner, ''),
    answer: [200],
    holds: { accepted: 0, duplicate: 0, lastAcceptedSeq: 2 },
  },
  {
    name: 'blank lines, as a probe',
    ask: (runner) => post(runner, '\r\n \n\n'),
    answer: [200],
    holds: { lastAcceptedSeq: 2 },
  },
  {
    name: 'no JSON',
    ask: (runner) => post(runner, `${ndjson(messageLines(3, 3))}{"seq":4`),
    answer: [400, 'schema-invalid'],
    holds: { lastAcceptedSeq: 3 },
    stored: [1, 2, 3],
  },
  {
    name: 'another shape in the first line',
    ask: (runner) => post(runner, '{"seq":true,"event":{"type":"diff","payload":{}}}\n'),
    answer: [400, 'schema-invalid'],
    holds: { lastAcceptedSeq: 2 },
  },
  {
    name: 'bytes that are no UTF-8',
    ask: (runner) => post(runner, Buffer.concat([Buffer.from(ndjson(messageLines(3, 3))), Buffer.of(0xff)])),
    answer: [400, 'schema-invalid'],
    holds: { lastAcceptedSeq: 3 },
    stored: [1, 2, 3],
  },
  {
    name: 'lines after the completion line',
    ask: (runner) => post(runner, ndjson([{ complete: { finalSeq: 2 } }, ...messageLines(3, 3)])),
    answer: [400, 'schema-invalid'],
    holds: { lastAcceptedSeq: 2 },
  },
  {
    name: 'two completion lines',
    ask: (runner) => post(runner, ndjson([{ complete: { finalSeq: 2 } }, { complete: { finalSeq: 2 } }])),
    answer: [400, 'schema-invalid'],
    holds: { lastAcceptedSeq: 2 },
  },
  {
    name: 'a completion line of another shape',
    ask: (runner) => post(runner, ndjson([{ complete: { finalSeq: -1 } }])),
    answer: [400, 'schema-invalid'],
    holds: { lastAcceptedSeq: 2 },
  },
  {
    name: 'a completion line among late events of an earlier epoch',
    ask: (runner) =>
      api.call('POST', `/api/v1/runs/${runner.runId}/ingest?spilledEpoch=1`, {
        token: runner.runToken,
        headers: { 'content-type': 'application/x-ndjson' },
        body: ndjson([{ complete: { finalSeq: 2 } }]),
      }),
    answer: [400, 'schema-invalid'],
  },
  {
    name: 'no token',
    ask: ({ runId }) => api.call('POST', `/api/v1/runs/${runId}/ingest`, { token: null }),
    answer: [401, 'unauthorized'],
  },
  {
    name: 'a token that is none',
    ask: (runner) => post(runner, '', { token: 'nonsense' }),
    answer: [401, 'unauthorized'],
    holds: { code: 'malformed' },
  },
  {
    name: 'a token with another signature',
    ask: (runner) =>
      post(runner, '', {
        token: `${runner.runToken.slice(0, runner.runToken.lastIndexOf('.'))}.${'A'.repeat(86)}`,
      }),
    answer: [401, 'unauthorized'],
    holds: { code: 'bad-signature' },
  },
  {
    name: 'the launch token',
    ask: (runner) => post(runner, '', { token: runner.launchToken }),
    answer: [401, 'unauthorized'],
    holds: { code: 'wrong-audience' },
  },
  {
    name: 'the token of another run',
    ask: (runner) => post(runner, ndjson(messageLines(3, 3)), { token: another.runToken }),
    answer: [403, 'forbidden'],
  },
  {
    name: 'another method',
    ask: ({ runId, runToken }) => api.call('PUT', `/api/v1/runs/${runId}/ingest`, { token: runToken }),
    answer: [405, 'method-not-allowed'],
  },
  {
    name: 'a gap',
    ask: (runner) => post(runner, ndjson([...messageLines(3, 3), ...messageLines(5, 6)])),
    answer: [409, 'conflict'],
    holds: { lastAcceptedSeq: 3, reason: 'gap' },
    stored: [1, 2, 3],
  },
  {
    name: 'a completion that names another last event',
    ask: (runner) => post(runner, ndjson([{ complete: { finalSeq: 3 } }])),
    answer: [409, 'conflict'],
    holds: { lastAcceptedSeq: 2, reason: 'completion-mismatch' },
  },
  {
    name: 'an event after the completion',
    ask: async (runner) => {
      await postEvents(api, runner, [{ complete: { finalSeq: 2 } }]);
      return post(runner, ndjson(messageLines(3, 3)));
    },
    answer: [409, 'conflict'],
    holds: { lastAcceptedSeq: 2, reason: 'completed' },
  },
  {
    name: 'an event after the end of the run',
    ask: async (runner) => {
      await finishTurn(database.pool, runner.runId, {
        terminalStatus: 'failed',
        failureKind: 'runner-lost',
        failureMessage: null,
      });
      return post(runner, ndjson(messageLines(3, 3)));
    },
    answer: [409, 'conflict'],
    holds: { lastAcceptedSeq: 2, reason: 'ended' },
  },
  {
    name: 'an attempt that was replaced',
    ask: async (runner) => {
      await writeAttempt(database.pool, attemptSettings, runner.runId, 2);
      return post(runner, ndjson(messageLines(3, 3)));
    },
    answer: [409, 'fenced'],
    holds: { lastAcceptedSeq: 2 },
  },
  {
    name: 'a line that is too long',
    ask: (runner) => post(runner, `${ndjson(messageLines(3, 3))}{"x":"${padding}"}`),
    answer: [413, 'payload-too-large'],
    holds: { limit: 'lineBytes', lastAcceptedSeq: 3 },
    stored: [1, 2, 3],
  },
  {
    name: 'a body that is too long',
    ask: (runner) =>
      post(
        runner,
        ndjson(
          Array.from({ length: 6 }, (_, index) => ({
            seq: 3 + index,
            event: { type: 'diff', payload: { diff: 'x'.repeat(900_000) } },
          })),
        ),
      ),
    answer: [413, 'payload-too-large'],
    holds: { limit: 'requestBytes', lastAcceptedSeq: 7 },
    stored: [1, 2, 3, 4, 5, 6, 7],
  },
  {
    name: 'too many events',
    ask: (runner) => post(runner, ndjson(messageLines(3, 1_003))),
    answer: [413, 'payload-too-large'],
    holds: { limit: 'eventsPerRequest', lastAcceptedSeq: 1_002 },
    stored: Array.from({ length: 1_002 }, (_, index) => index + 1),
  },
  {
    name: 'another media type',
    ask: (runner) => post(runner, ndjson(messageLines(3, 3)), { type: 'application/json' }),
    answer: [415, 'unsupported-media-type'],
    holds: { lastAcceptedSeq: 2 },
  },
];

describe('ingest answers', () => {
  it.each(table)('$name: $answer', async ({ ask, answer, holds = {}, stored = [1, 2] }) => {
    const runner = await begun();
    const asked = await ask(runner);
    const [status, failureKind] = answer;
    expect([asked.status, asked.body.failureKind]).toEqual([status, failureKind]);
    const shown = status === 200 ? asked.body.data : detailsOf(asked);
    if (Object.keys(holds).length > 0) expect(shown).toMatchObject(holds);
    expect(await storedOf(runner.runId)).toEqual(stored);
  });

  it('takes 1,000 events and their completion line in one request', async () => {
    const runner = await startTurn(api);
    const answer = await post(runner, ndjson([...messageLines(1, 1_000), { complete: { finalSeq: 1_000 } }]));
    expect(answer.body.data).toEqual({ accepted: 1_000, duplicate: 0, lastAcceptedSeq: 1_000 });
  });

  const head = ({ runId, runToken }: ServingRunner, length: number) =>
    `POST /api/v1/runs/${runId}/ingest HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${runToken}\r\n` +
    `content-type: application/x-ndjson\r\ncontent-length: ${length}\r\n\r\n`;

  it('408 to a body that stops: what came whole is stored, and the answer says how far', async () => {
    const runner = await begun();
    const body = ndjson(messageLines(3, 5));
    const startedAt = performance.now();
    const answer = await sendRaw(api.url, [head(runner, body.length), body.slice(0, -20)]);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(ingestBodyMs);
    expect([answer.status, answer.headers.get('connection')]).toEqual([408, 'close']);
    expect(JSON.parse(answer.body)).toMatchObject({
      failureKind: 'request-timeout',
      error: { details: { accepted: 2, lastAcceptedSeq: 4, limit: 'bodyMs' } },
    });
    expect(await storedOf(runner.runId)).toEqual([1, 2, 3, 4]);
    expect(ingestLimits.bodyMs).toBeLessThan(60_000);
  });

  it('nobody when the client has gone in the middle, and stores nothing of the body', async () => {
    const runner = await begun();
    const body = ndjson(messageLines(3, 5));
    const gone = new AbortController();
    const sent = fetch(`${api.url}/api/v1/runs/${runner.runId}/ingest`, {
      method: 'POST',
      headers: { authorization: `Bearer ${runner.runToken}`, 'content-type': 'application/x-ndjson' },
      body: (async function* () {
        yield Buffer.from(body.slice(0, -20));
        gone.abort();
        await sleep(1);
      })(),
      duplex: 'half',
      signal: gone.signal,
    });
    await expect(sent).rejects.toThrow();
    expect(await probe(runner)).toBe(2);
    expect(await storedOf(runner.runId)).toEqual([1, 2]);
  });
});

it('a process that is ending answers 503 with Retry-After to events and to one event', async () => {
  const runner = await startTurn(api);
  const serving = await serve(createApp({ ...api.deps, stopping: AbortSignal.abort() }), {
    host: '127.0.0.1',
    port: 0,
  });
  try {
    const send = (path: string, type: string, body: string) =>
      fetch(`http://127.0.0.1:${serving.port}/api/v1/runs/${runner.runId}/${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${runner.runToken}`, 'content-type': type },
        body,
      });
    const answers = [
      await send('ingest', 'application/x-ndjson', ndjson(messageLines(1, 1))),
      await send('events', 'application/json', '{}'),
    ];
    for (const answer of answers) {
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
      expect(await answer.json()).toMatchObject({ failureKind: 'unavailable' });
    }
  } finally {
    await serving.close(1_000);
  }
  expect(await storedOf(runner.runId)).toEqual([]);
});
