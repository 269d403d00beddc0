import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readIngestLine } from '../../api/ingest-line.js';
import { parseJson } from '../../api/json-body.js';
import { type IngestBody, readIngestBody } from '../../api/ndjson-body.js';
import { parsePart } from '../../api/validation.js';
import { AgentRunError } from '../../contract/errors.js';
import { eventPageSchema } from '../../contract/events.js';
import { completionLineSchema, ingestLineSchema } from '../../contract/ingest.js';
import { postEvents, startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { api } = await useApi();

/** A body that arrives in these pieces. */
async function read(pieces: readonly Uint8Array[]): Promise<IngestBody> {
  const request = new IncomingMessage(new Socket());
  request.headers['content-type'] = 'application/x-ndjson';
  const body = readIngestBody(request);
  for (const piece of pieces) {
    request.push(piece);
    // Each piece is read before the next one comes.
    await new Promise((resolve) => setImmediate(resolve));
  }
  request.push(null);
  return body;
}

const line = (seq: number, text: string) =>
  JSON.stringify({ seq, event: { type: 'agent_message', payload: { text } } });
const textsOf = ({ lines }: IngestBody) => lines.map(({ event }) => event.payload.text);

describe('the lines of a body', () => {
  const texts = ['plain', 'mässäge', '日本語', '😀 and 👩‍👩‍👧', 'two\nlines\r\n'];
  const whole = Buffer.from(
    `\r\n${texts.map((text, index) => line(index + 1, text)).join('\r\n')}\n\n  \r\n${line(6, 'last')}`,
  );

  it('are the same wherever the network cuts them, within a character too', async () => {
    for (let at = 0; at <= whole.length; at += 1) {
      const body = await read([whole.subarray(0, at), whole.subarray(at)]);
      expect([body.problem, body.finalSeq, textsOf(body)]).toEqual([null, null, [...texts, 'last']]);
    }
  });

  it('are the same byte by byte', async () => {
    const body = await read(Array.from(whole, (byte) => Buffer.of(byte)));
    expect([body.problem, textsOf(body)]).toEqual([null, [...texts, 'last']]);
  });

  it('may end with a completion line, with and without an end of its own', async () => {
    for (const end of ['', '\n', '\r\n \n']) {
      const body = await read([Buffer.from(`${line(1, 'a')}\n{"complete":{"finalSeq":1}}${end}`)]);
      expect([body.problem, body.finalSeq, textsOf(body)]).toEqual([null, 1, ['a']]);
    }
  });

  it('before a problem are kept; a completion before it does not count', async () => {
    const body = await read([Buffer.from(`${line(1, 'a')}\n{"complete":{"finalSeq":1}}\n${line(2, 'b')}`)]);
    expect([body.problem?.failureKind, body.finalSeq, textsOf(body)]).toEqual([
      'schema-invalid',
      null,
      ['a'],
    ]);
    expect(body.problem?.message).toContain('line 3');
  });
});

/** What the schema alone makes of a line. */
function bySchema(text: string): unknown {
  const value = parseJson(text, 100, 'line 1');
  return typeof value === 'object' && value !== null && Object.hasOwn(value, 'complete')
    ? parsePart(completionLineSchema, value, 'line 1')
    : parsePart(ingestLineSchema, value, 'line 1');
}
const outcome = (read: () => unknown) => {
  try {
    return { read: read() };
  } catch (error) {
    if (!(error instanceof AgentRunError)) throw error;
    return { message: error.message, details: error.details };
  }
};
const withoutText = (text: string) => {
  const read = readIngestLine(Buffer.from(text), text, 'line 1');
  return 'complete' in read ? read : { seq: read.seq, event: read.event };
};

/** Values that a JSON text may hold, and some that no serializer writes: escaped letters, numbers without end, names that objects have already. */
const odd = fc.oneof(
  fc.constantFrom(
    '1e400',
    '-1e400',
    '1e-20000',
    `0.${'0'.repeat(17_000)}1`,
    '9'.repeat(400),
    '12345678901234567890',
    '-0',
    '1.0',
    '"\\u0000"',
    '"\\ud83d"',
    '"\\ud83d\\ude00"',
    '"\\u001b[0m"',
    '{"__proto__":1}',
    '{"\\u005f_proto__":{"a":1}}',
    '{"constructor":1,"toString":2}',
    '{"a":1,"a":2}',
    `${'['.repeat(98)}${']'.repeat(98)}`,
    `${'['.repeat(99)}${']'.repeat(99)}`,
  ),
  fc.jsonValue({ maxDepth: 4 }).map((value) => JSON.stringify(value)),
  fc.string({ unit: 'binary', maxLength: 20 }).map((value) => JSON.stringify(value)),
);
const payload = fc
  .array(fc.tuple(fc.string({ unit: 'binary', maxLength: 5 }), odd), { maxLength: 4 })
  .map((fields) => `{${fields.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`);
const at = fc.constantFrom(
  undefined,
  '"2026-01-31T12:00:00.000Z"',
  '"2026-01-31T12:00:00Z"',
  '"2026-01-31T12:00:00.123456Z"',
  '"2026-01-31T13:00:00.000+01:00"',
  '"2026-02-31T12:00:00.000Z"',
  '"2026-01-31T24:00:00.000Z"',
  '"0000-01-01T00:00:00.000Z"',
  '"yesterday"',
  '7',
  'null',
);
const seq = fc.constantFrom('1', '1.0', '1e0', '0', '-1', '1.5', '"1"', 'true', 'null', '9007199254740992');
const fields = (pairs: Record<string, string | undefined>) =>
  `{${Object.entries(pairs)
    .flatMap(([name, value]) => (value === undefined ? [] : [`"${name}":${value}`]))
    .join(', ')}}`;
const sentLine = fc
  .record({
    seq: fc.oneof({ weight: 5, arbitrary: fc.constant('1') }, { weight: 1, arbitrary: seq }),
    type: fc.constantFrom('"agent_message"', '"diff"', '"terminal_status"', '"diff"', '"nonsense"', '3'),
    at,
    payload: fc.oneof({ weight: 5, arbitrary: payload }, { weight: 1, arbitrary: odd }),
    raw: fc.option(odd, { nil: undefined }),
    more: fc.constantFrom(undefined, undefined, undefined, '1'),
  })
  .map(({ seq: number, more, ...event }) => fields({ seq: number, event: fields(event), more }));
const completion = fc
  .constantFrom('0', '7', '-1', '1.5', '"1"', 'null')
  .map((finalSeq) => `{"complete":{"finalSeq":${finalSeq}}}`);
const broken = fc.tuple(sentLine, fc.nat(200)).map(([text, cut]) => text.slice(0, cut));

describe('a line', () => {
  it('is read by hand as the schema reads it, and refused in its words', () => {
    fc.assert(
      fc.property(
        fc.oneof({ weight: 8, arbitrary: sentLine }, { weight: 1, arbitrary: completion }, broken),
        (text) => {
          expect(outcome(() => withoutText(text))).toEqual(outcome(() => bySchema(text)));
        },
      ),
      { numRuns: 3_000 },
    );
  });

  it('is stored as it was read: of its text nothing else comes through', async () => {
    const good = sentLine.filter((text) => 'read' in outcome(() => bySchema(text)) && text.length < 900_000);
    const runner = await startTurn(api);
    const before = await api.data(eventPageSchema, 'GET', `/api/v1/runs/${runner.runId}/events`);
    const texts = fc.sample(good, { numRuns: 300, seed: 6 });
    const sent = texts.map((text, index) => text.replace(/^\{"seq":[^,]+/, `{"seq":${index + 1}`));
    const answer = await api.call('POST', `/api/v1/runs/${runner.runId}/ingest`, {
      token: runner.runToken,
      headers: { 'content-type': 'application/x-ndjson' },
      body: sent.join('\n'),
    });
    expect(answer.body.data).toMatchObject({ accepted: 300 });
    const { items } = await api.data(
      eventPageSchema,
      'GET',
      `/api/v1/runs/${runner.runId}/events?limit=1000&afterSeq=${before.lastSeq}`,
    );
    const clean = (value: unknown): unknown =>
      JSON.parse(JSON.stringify(value), (_key, inner: unknown) =>
        typeof inner === 'object' && inner !== null && !Array.isArray(inner)
          ? Object.fromEntries(Object.entries(inner).map(([key, child]) => [text(key), child]))
          : typeof inner === 'string'
            ? text(inner)
            : inner,
      );
    const text = (value: string) => value.replace(/\0|\p{Surrogate}/gu, '\u{fffd}');
    for (const [index, event] of items.entries()) {
      const read = ingestLineSchema.parse(JSON.parse(sent[index] ?? '')).event;
      const stored =
        read.type === 'terminal_status'
          ? { type: 'backend_status', payload: { phase: 'runner-terminal', said: read.payload } }
          : { type: read.type, payload: read.payload };
      expect(event).toMatchObject({ type: stored.type });
      expect(event.payload).toEqual(clean(stored.payload));
      expect(event.raw).toEqual(read.raw === undefined || read.raw === null ? undefined : clean(read.raw));
      if (read.at !== undefined) expect(event.at).toBe(read.at);
    }
  });

  it('of which Postgres cannot hold a number as it is written is stored all the same', async () => {
    const runner = await startTurn(api);
    const answer = await api.call('POST', `/api/v1/runs/${runner.runId}/ingest`, {
      token: runner.runToken,
      headers: { 'content-type': 'application/x-ndjson' },
      body: `{"seq":1,"event":{"type":"diff","payload":{"tiny":0.${'0'.repeat(17_000)}1,"e":1e-20000}}}\n`,
    });
    expect(answer.body.data).toMatchObject({ accepted: 1 });
    expect((await postEvents(api, runner, [])).body.data).toMatchObject({ lastAcceptedSeq: 1 });
  });
});
