import { describe, expect, test } from 'vitest';
import { ApiError, ConnectionError, errorLine, errorText } from '../../client/index.js';

const coded = (message: string, code: string, cause?: unknown) =>
  Object.assign(new Error(message, cause === undefined ? {} : { cause }), { code });

const circular = new Error('round');
circular.cause = new Error('and round', { cause: circular });

const deep = Array.from({ length: 8 }, (_, index) => index).reduce<Error | undefined>(
  (cause, index) => new Error(`level ${index}`, { cause }),
  undefined,
);

const hostile = Object.defineProperty(new Error('x'), 'message', {
  get: () => {
    throw new Error('no');
  },
});

const apiError = (status: number, failureKind: string, message: string) =>
  new ApiError({ status, failureKind, message });

/** requirements.md A.2.e 42: whatever is thrown can be told from its one line. */
describe('the line of an error', () => {
  test.each<[string, unknown, string]>([
    ['an empty message', new Error(''), 'Error: (no message)'],
    ['an empty message with a code', coded('', 'ECONNRESET'), 'Error: ECONNRESET'],
    ['a TypeError', new TypeError('x is not a function'), 'TypeError: x is not a function'],
    [
      'an AbortError',
      new DOMException('This operation was aborted', 'AbortError'),
      'AbortError: This operation was aborted',
    ],
    ['a TimeoutError', new DOMException('', 'TimeoutError'), 'TimeoutError: (no message)'],
    [
      'a timeout of ours, in milliseconds',
      new ConnectionError('timeout', 'GET /x timed out after 30000 ms'),
      'ConnectionError: GET /x timed out after 30000 ms',
    ],
    ['an HTTP status', apiError(503, 'unavailable', 'later'), 'ApiError: HTTP 503 unavailable: later'],
    [
      'what fetch hides',
      new TypeError('fetch failed', { cause: coded('connect refused', 'ECONNREFUSED') }),
      'TypeError: fetch failed, caused by Error: connect refused (ECONNREFUSED)',
    ],
    [
      'a code that the message says',
      coded('connect ECONNREFUSED ::1:80', 'ECONNREFUSED'),
      'Error: connect ECONNREFUSED ::1:80',
    ],
    [
      'an AggregateError',
      new AggregateError([coded('a', 'ECONNREFUSED'), new Error('b')], ''),
      'AggregateError: (no message) [Error: a (ECONNREFUSED); Error: b]',
    ],
    [
      'an AggregateError of many',
      new AggregateError(
        Array.from({ length: 7 }, (_, index) => new Error(`${index}`)),
        'all',
      ),
      'AggregateError: all [Error: 0; Error: 1; Error: 2; Error: 3; Error: 4; and 2 more]',
    ],
    [
      'causes three deep',
      new Error('a', { cause: new Error('b', { cause: new TypeError('c', { cause: 'd' }) }) }),
      'Error: a, caused by Error: b, caused by TypeError: c, caused by thrown string: d',
    ],
    [
      'causes without an end',
      deep,
      'Error: level 7, caused by Error: level 6, caused by Error: level 5, caused by Error: level 4, caused by Error: level 3, caused by Error: level 2, caused by …',
    ],
    ['a circular cause', circular, 'Error: round, caused by Error: and round, caused by (circular)'],
    ['a text', 'boom', 'thrown string: boom'],
    ['an empty text', '', 'thrown string: (empty text)'],
    ['nothing', undefined, 'thrown undefined: undefined'],
    ['null', null, 'thrown null: null'],
    ['a number', 7, 'thrown number: 7'],
    ['an object', { message: 'odd' }, 'thrown object: odd'],
    ['an object that says nothing', {}, 'thrown object: (no message)'],
    ['an error whose message throws', hostile, 'Error: (no message)'],
    ['several lines', new Error('first\n  second'), 'Error: first second'],
  ])('%s', (_name, error, text) => {
    expect(errorText(error)).toBe(text);
  });

  test('of an error that holds itself ends', () => {
    const error = new AggregateError([], 'self');
    error.errors.push(error);
    expect(errorText(error)).toBe('AggregateError: self [(circular)]');
  });

  test('is bounded', () => {
    expect(errorText(new Error('x'.repeat(1_000_000))).length).toBeLessThan(2_100);
  });

  test('has fields for logs', () => {
    const error = new TypeError('fetch failed', { cause: coded('', 'ENOTFOUND') });
    expect(errorLine(error)).toEqual({
      type: 'TypeError',
      message: 'fetch failed',
      cause: 'Error: ENOTFOUND',
    });
    expect(errorLine(undefined)).toEqual({
      type: 'thrown undefined',
      message: 'undefined',
      cause: undefined,
    });
  });

  const jwt = 'eyJhbGciOiJFUzI1NiJ9.eyJydW4iOiJydW5fMSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ';
  test.each([
    ['an address with a password', 'connect postgres://me:pa55word@db:5432/x', 'pa55word'],
    ['a query', 'GET https://api.test/x?token=5ecret&a=b failed', '5ecret'],
    ['a bearer header', 'authorization: Bearer abcdefgh12345678 refused', 'abcdefgh12345678'],
    ['a run token', `sent ${jwt}`, jwt],
    ['a provider key', 'key sk-abcdefghijklmnop0123 is wrong', 'sk-abcdefghijklmnop0123'],
    ['an API token of ours', 'token agr_0123456789abcdef0123', 'agr_0123456789abcdef0123'],
  ])('shows nothing of %s, also in a cause', (_name, message, secret) => {
    for (const error of [new Error(message), new Error('outer', { cause: new Error(message) }), message])
      expect(errorText(error)).not.toContain(secret);
    expect(JSON.stringify(errorLine(new Error('outer', { cause: new Error(message) })))).not.toContain(
      secret,
    );
  });
});

test.each(['-eyJ', 'eyJ-', 'a.', 'a://', 'a://b:', 'https://a', 'Bearer ', 'sk-', 'github_pat_', ' \n'])(
  'the line of an error of %j over and over is made at once',
  (unit) => {
    const error = new Error(unit.repeat(Math.ceil(1_048_576 / unit.length)));
    const startedAt = performance.now();
    errorText(error);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  },
);
