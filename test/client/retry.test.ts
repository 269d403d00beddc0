import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  ApiError,
  ConnectionError,
  createApiClient,
  type RetryOptions,
  withRetry,
} from '../../client/index.js';

const read = {
  method: 'get',
  path: '/x',
  params: z.object({}),
  query: z.object({}),
  body: z.unknown(),
  data: z.unknown(),
};
const keyOf = (body: unknown) => z.object({ key: z.string() }).parse(JSON.parse(z.string().parse(body))).key;

/** Waits that take no time and are written down; jitter as given. */
function recorded<T>(more: Partial<RetryOptions<T>> = {}) {
  const waits: number[] = [];
  const lines: { fields: Record<string, unknown>; message: string }[] = [];
  const options: RetryOptions<T> = {
    what: 'POST /api/v1/x',
    random: () => 1,
    wait: (delayMs) => {
      waits.push(delayMs);
      return Promise.resolve();
    },
    log: { warn: (fields, message) => lines.push({ fields, message }) },
    ...more,
  };
  return { options, waits, lines };
}

const status = (code: number, more: { retryAfterSeconds?: number; message?: string } = {}) =>
  new ApiError({ status: code, failureKind: `http-${code}`, message: 'no', ...more });
const refused = () => Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });

/** Fails with each of `errors` in turn, then answers the number of the attempt. */
function failing(...errors: unknown[]) {
  let calls = 0;
  return {
    count: () => calls,
    work: (): Promise<number> => {
      calls += 1;
      const error = errors[calls - 1];
      // A value of any type can be thrown, and is.
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors
      return calls <= errors.length ? Promise.reject(error) : Promise.resolve(calls);
    },
  };
}
const times = (count: number, error: unknown): unknown[] => Array.from({ length: count }, () => error);

describe('the budget', () => {
  test('is 8 attempts with 7 waits of 2 s, doubling, at most 30 s', async () => {
    const { options, waits } = recorded<number>();
    const { work, count } = failing(...times(20, status(503)));
    await expect(withRetry(options, work)).rejects.toMatchObject({ status: 503 });
    expect(count()).toBe(8);
    expect(waits).toEqual([2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  test('has jitter: a wait is anything up to its step', async () => {
    const random = [0, 0.25, 0.5, 0.75];
    const { options, waits } = recorded<number>({ random: () => random.shift() ?? 1 });
    await withRetry(options, failing(...times(4, status(500))).work);
    expect(waits).toEqual([0, 1_000, 4_000, 12_000]);
  });

  test('respects Retry-After, within a minute', async () => {
    const { options, waits } = recorded<number>({ random: () => 0 });
    const errors = [status(429, { retryAfterSeconds: 5 }), status(503, { retryAfterSeconds: 86_400 })];
    await withRetry(options, failing(...errors).work);
    expect(waits).toEqual([5_000, 60_000]);
  });
});

describe('what is repeated', () => {
  test.each([408, 425, 429, 500, 502, 503, 504])('HTTP %i', async (code) => {
    const { options } = recorded<number>();
    expect(await withRetry(options, failing(status(code)).work)).toBe(2);
  });

  test.each([400, 403, 404, 405, 409, 413, 415, 422])('not HTTP %i', async (code) => {
    const { options, waits, lines } = recorded<number>();
    const { work, count } = failing(status(code));
    await expect(withRetry(options, work)).rejects.toMatchObject({ status: code });
    expect([count(), waits, lines]).toEqual([1, [], []]);
  });

  test.each<[string, unknown]>([
    ['a refused connection', refused()],
    ['one that fetch wraps', new TypeError('fetch failed', { cause: refused() })],
    ['one of several addresses', new TypeError('fetch failed', { cause: new AggregateError([refused()]) })],
    ['a timeout', new DOMException('too slow', 'TimeoutError')],
    ['a timeout of ours', new ConnectionError('timeout', 'too slow')],
  ])('%s', async (_name, error) => {
    const { options } = recorded<number>();
    expect(await withRetry(options, failing(error).work)).toBe(2);
  });

  test.each<[string, unknown]>([
    ['an error of the program', new TypeError('x is undefined')],
    ['a text that says "not available"', new Error('not available')],
    ['an answer of another shape', new ConnectionError('invalid-answer', 'no envelope')],
    ['nothing', undefined],
  ])('not %s', async (_name, error) => {
    const { options } = recorded<number>();
    const { work, count } = failing(error);
    await expect(withRetry(options, work)).rejects.toBe(error);
    expect(count()).toBe(1);
  });

  test('401 once, with the token read anew', async () => {
    const tokens = ['old', 'new', 'newer'];
    const seen: (string | null)[] = [];
    const client = createApiClient({
      baseUrl: 'http://api.test',
      token: () => tokens.shift() ?? '',
      fetch: (_input, init) => {
        seen.push(new Headers(init?.headers).get('authorization'));
        const body = { ok: false, failureKind: 'unauthorized', message: 'no', traceId: 't' };
        return Promise.resolve(Response.json(body, { status: 401 }));
      },
    });
    const retry = { attempts: 8, baseDelayMs: 1, maxDelayMs: 1 };
    await expect(client.call(read, {}, { retry })).rejects.toMatchObject({ status: 401 });
    expect(seen).toEqual(['Bearer old', 'Bearer new']);
  });

  test('409 is success when the caller knows that it means "already accepted"', async () => {
    const { options } = recorded<string>({
      alreadyDone: (error) =>
        error instanceof ApiError && error.status === 409 ? { value: 'accepted before' } : undefined,
    });
    let calls = 0;
    const answer = await withRetry(options, () => {
      calls += 1;
      return Promise.reject(calls === 1 ? new ConnectionError('timeout', 'slow') : status(409));
    });
    expect(answer).toBe('accepted before');
  });
});

// requirements.md A.2.e 44: the defects of the version that these promises come from.
describe('the defects that others had', () => {
  test('a: when the last failures were HTTP statuses, the last line names them', async () => {
    const { options, lines } = recorded<number>();
    await expect(withRetry(options, failing(refused(), ...times(7, status(503))).work)).rejects.toThrow();
    expect(lines.at(-1)?.message).toBe(
      'POST /api/v1/x: gave up after 8 attempts: ApiError: HTTP 503 http-503: no',
    );
    expect(lines.at(-1)?.fields).toMatchObject({ attempts: 8, type: 'ApiError' });
  });

  test('b: no wait and no promise of one after the last attempt', async () => {
    const { options, waits, lines } = recorded<number>();
    await expect(withRetry(options, failing(...times(8, status(503))).work)).rejects.toThrow();
    expect(waits).toHaveLength(7);
    expect(lines.map(({ message }) => message.includes('trying again'))).toEqual([...times(7, true), false]);
    expect(lines[2]?.message).toBe(
      'POST /api/v1/x: attempt 3/8 failed: ApiError: HTTP 503 http-503: no; trying again in 8000 ms',
    );
  });

  test('c: two callers that fail together do not come back together', async () => {
    const { waits, options } = recorded<number>();
    const { random: _fixed, ...jittered } = options;
    await Promise.all([1, 2, 3].map(() => withRetry(jittered, failing(status(503)).work)));
    expect(new Set(waits).size).toBeGreaterThan(1);
  });

  test('d: all attempts carry the same idempotency key: what was accepted and timed out is not done twice', async () => {
    const bodies: unknown[] = [];
    const accepted = new Set<unknown>();
    const client = createApiClient({
      baseUrl: 'http://api.test',
      token: () => 'token',
      fetch: (_input, init) => {
        bodies.push(init?.body);
        accepted.add(keyOf(init?.body));
        return bodies.length < 3
          ? Promise.reject(new TypeError('fetch failed', { cause: refused() }))
          : Promise.resolve(Response.json({ ok: true, data: accepted.size, traceId: 't' }));
      },
    });
    let keys = 0;
    // The body is read once: one that changes while it is sent cannot make two of one.
    const body = {
      get key() {
        keys += 1;
        return `key-${keys}`;
      },
    };
    const retry = { attempts: 8, baseDelayMs: 1, maxDelayMs: 1 };
    expect(await client.call({ ...read, method: 'post', data: z.number() }, { body }, { retry })).toBe(1);
    expect(new Set(bodies).size).toBe(1);
    expect(bodies).toHaveLength(3);
  });

  test('e: an attempt that runs out of time is a failure, also when its work pays no heed', async () => {
    const { options, lines } = recorded<string>({
      timeoutMs: 20,
      policy: { attempts: 2, baseDelayMs: 1, maxDelayMs: 1 },
    });
    let answered = false;
    const never = () =>
      new Promise<string>(() => undefined).then((value) => {
        answered = true;
        return value;
      });
    await expect(withRetry(options, never)).rejects.toMatchObject({ reason: 'timeout' });
    expect(answered).toBe(false);
    expect(lines[0]?.message).toContain('POST /api/v1/x timed out after 20 ms');
    expect(lines.every(({ message }) => /failed|gave up/.test(message))).toBe(true);
  });

  test('f: a total failure is always told to the caller, with the last error itself', async () => {
    const { options } = recorded<number>({ policy: { attempts: 2, baseDelayMs: 1, maxDelayMs: 1 } });
    const last = status(500);
    await expect(withRetry(options, failing(refused(), last).work)).rejects.toBe(last);
  });

  test('g: a line shows no secret of an address or a header', async () => {
    const { options, lines } = recorded<number>();
    const leak = new ConnectionError('network', 'https://me:pa55word@db.test/x?key=5ecret', {
      cause: new Error('sent Bearer abcdefgh12345678'),
    });
    await withRetry(options, failing(leak).work);
    expect(JSON.stringify(lines)).not.toMatch(/pa55word|5ecret|abcdefgh12345678/);
    expect(lines[0]?.message).toContain('[redacted]');
  });
});

describe('the end', () => {
  test('by the caller stops an attempt and a wait at once', async () => {
    const stop = new AbortController();
    const { wait: _none, ...options } = recorded<never>({ signal: stop.signal }).options;
    const working = withRetry(options, () => new Promise<never>(() => undefined));
    stop.abort();
    await expect(working).rejects.toMatchObject({ reason: 'aborted' });
    const waiting = new AbortController();
    const startedAt = performance.now();
    // The wait has begun when the line is written.
    const log = { warn: () => void setImmediate(() => waiting.abort()) };
    const failed = withRetry({ ...options, signal: waiting.signal, log, random: () => 1 }, () =>
      Promise.reject(status(503)),
    );
    await expect(failed).rejects.toMatchObject({ status: 503 });
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });

  test('a base address that is none is one error, and no request', async () => {
    let requests = 0;
    const client = createApiClient({
      baseUrl: '',
      token: () => '',
      fetch: () => {
        requests += 1;
        return Promise.reject(refused());
      },
    });
    await expect(client.call(read, {})).rejects.toThrow(TypeError);
    expect(requests).toBe(0);
  });
});
