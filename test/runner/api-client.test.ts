import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { ApiError, ConnectionError, createApiClient, requestUrl } from '../../client/index.js';

const data = z.object({ id: z.string() });
const fields = z.object({ waitMs: z.string(), none: z.string() }).partial();
const none = z.object({});
const read = { method: 'get', path: '/x', params: none, query: none, body: z.unknown(), data };
const write = { ...read, method: 'post' };
const claim = {
  ...write,
  path: '/api/v1/runs/:runId/claim',
  params: z.object({ runId: z.string() }),
  query: fields,
  body: z.object({ a: z.number() }),
};
const fast = { attempts: 4, baseDelayMs: 1, maxDelayMs: 2 };

function client(answers: (() => Response | Promise<Response>)[]) {
  const calls: { url: string; headers: Headers; body: unknown }[] = [];
  const logged: Record<string, unknown>[] = [];
  let token = 'token-1';
  const subject = createApiClient({
    baseUrl: 'http://api.test/prefix/',
    token: () => token,
    log: { warn: (fields) => logged.push(fields) },
    fetch: (input, init) => {
      calls.push({
        url: input instanceof Request ? input.url : input.toString(),
        headers: new Headers(init?.headers),
        body: init?.body,
      });
      const answer = answers.shift();
      return answer === undefined
        ? Promise.reject(new Error('no answer left'))
        : Promise.resolve().then(answer);
    },
  });
  const refresh = (fresh: string): void => {
    token = fresh;
  };
  return { subject, calls, logged, refresh };
}

const ok = (data: unknown) => () => Response.json({ ok: true, data, traceId: 't' });
const failure =
  (status: number, failureKind: string, headers: Record<string, string> = {}) =>
  () =>
    Response.json(
      {
        ok: false,
        failureKind,
        message: 'no',
        traceId: 't',
        error: { failureKind, message: 'no', details: { lastAcceptedSeq: 7 } },
      },
      { status, headers },
    );
const refused = () => Promise.reject(new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') }));

describe('createApiClient', () => {
  test('unwraps the envelope and parses the data', async () => {
    const { subject, calls } = client([ok({ id: 'x', more: 1 })]);
    expect(
      await subject.call(claim, {
        params: { runId: 'a/b' },
        query: { waitMs: 5, none: undefined },
        body: { a: 1 },
      }),
    ).toEqual({ id: 'x' });
    expect(calls[0]?.url).toBe('http://api.test/prefix/api/v1/runs/a%2Fb/claim?waitMs=5');
    expect(calls[0]?.headers.get('authorization')).toBe('Bearer token-1');
    expect(calls[0]?.body).toBe('{"a":1}');
  });

  test('repeats a read on network failure, 429 and 5xx, with a line each and the fresh token', async () => {
    const { subject, calls, logged, refresh } = client([
      refused,
      failure(503, 'unavailable'),
      () => {
        refresh('token-2');
        return new Response('<html>', { status: 502 });
      },
      ok({ id: 'x' }),
    ]);
    expect(await subject.call(read, {}, { retry: fast })).toEqual({ id: 'x' });
    expect(logged.map((line) => [line.attempt, line.type])).toEqual([
      [1, 'ConnectionError'],
      [2, 'ApiError'],
      [3, 'ApiError'],
    ]);
    expect(calls.at(-1)?.headers.get('authorization')).toBe('Bearer token-2');
  });

  test('a write is sent once unless the caller says that it may be repeated', async () => {
    const { subject, calls } = client([failure(503, 'unavailable', { 'retry-after': '5' }), ok({ id: 'x' })]);
    const error = await subject.call(write, {}).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({
      status: 503,
      failureKind: 'unavailable',
      retryAfterSeconds: 5,
      details: { lastAcceptedSeq: 7 },
    });
    expect(calls).toHaveLength(1);
  });

  test('a refusal is not repeated, the budget is bounded', async () => {
    const first = client([failure(409, 'fenced'), ok({ id: 'x' })]);
    await expect(first.subject.call(read, {}, { retry: fast })).rejects.toMatchObject({
      failureKind: 'fenced',
    });
    const second = client([refused, refused, refused, refused, ok({ id: 'x' })]);
    await expect(second.subject.call(read, {}, { retry: fast })).rejects.toThrow(ConnectionError);
    expect(second.calls).toHaveLength(4);
  });

  test('an answer of another shape is an error that names the field', async () => {
    const { subject } = client([ok({ id: 7 }), () => new Response('hello')]);
    await expect(subject.call(read, {})).rejects.toThrow('id: ');
    await expect(subject.call(read, {})).rejects.toMatchObject({ reason: 'invalid-answer' });
  });
});

describe('requestUrl', () => {
  test.each(['', '.', '..'])('refuses the segment %j', (segment) => {
    expect(() => requestUrl('http://api.test', ['runs', segment])).toThrow(TypeError);
  });
});
