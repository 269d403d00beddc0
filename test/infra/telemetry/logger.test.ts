import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { createLogger } from '../../../infra/telemetry/logger.js';
import { createRedactor } from '../../../infra/telemetry/redaction.js';
import { isSecretName } from '../../../infra/telemetry/secret-fields.js';
import { withoutUrlSecrets } from '../../../infra/telemetry/url-secrets.js';

const canary = 'canary-value-9f31c7';

function lines(secrets: string[] = []) {
  const written: string[] = [];
  const logger = createLogger({
    name: 'test',
    redactor: createRedactor(secrets),
    destination: { write: (line) => void written.push(line) },
  });
  return { logger, written };
}

class HttpError extends Error {
  readonly config = { headers: { Authorization: `Bearer ${canary}`, 'x-api-key': canary }, url: '/x' };
}

const circle: Record<string, unknown> = { apiKey: canary };
circle.self = { again: circle };

describe('a log line shows no secret', () => {
  test.each<[string, Record<string, unknown>]>([
    ['at the top', { token: canary }],
    ['five levels deep', { a: { b: { c: { d: { e: { password: canary } } } } } }],
    ['in a list', { calls: [{ headers: [{ authorization: canary }] }] }],
    ['in a field of an error', { err: new HttpError('no') }],
    ['in a field of an error that is no `err`', { problem: { inner: new HttpError('no') } }],
    ['in the cause of an error', { cause: new Error('no', { cause: new HttpError('inner') }) }],
    ['in headers of any writing', { headers: { 'Set-Cookie': canary, COOKIE: canary, 'X-Api-Key': canary } }],
    ['in a Headers object', { headers: new Headers({ authorization: canary }) }],
    ['in an object that refers to itself', circle],
    ['as an object', { credentials: { any: { thing: canary } } }],
    ['in a URL', { url: `https://user:${canary}@host/x.git` }],
    ['in a URL as a token', { message: `clone of https://${canary}@host/x failed` }],
    ['in a query', { url: `https://host/x?a=1&access_token=${canary}&b=2` }],
    ['in bytes', { body: Buffer.from(canary) }],
    ['behind a toJSON', { thing: { toJSON: () => ({ secret: canary }) } }],
  ])('%s', (_where, fields) => {
    const { logger, written } = lines();
    logger.info(fields, 'said');
    expect(written).toHaveLength(1);
    expect(written[0]).not.toContain(canary);
    expect(written[0]).toContain('"msg":"said"');
    expect(() => JSON.parse(written[0] ?? '') as unknown).not.toThrow();
  });

  test('a known value anywhere, also in the words of the line', () => {
    const { logger, written } = lines([canary]);
    logger.warn({ deep: [{ text: `x ${canary} y` }] }, `went wrong with ${canary}`);
    expect(written[0]).not.toContain(canary);
  });

  test('a secret that is bound to a child logger', () => {
    const { logger, written } = lines();
    logger.child({ runId: 'run_1', launchToken: canary }).info('said');
    expect(written[0]).toContain('run_1');
    expect(written[0]).not.toContain(canary);
  });

  test('what is no secret stays', () => {
    const { logger, written } = lines();
    const url = 'ssh://git@host/x.git?page=2&nextToken2=y';
    logger.info({ inputTokens: 7, tokens: ['a'], hasToken: true, url, at: new Date(0) }, 'said');
    expect(JSON.parse(written[0] ?? '')).toMatchObject({
      inputTokens: 7,
      tokens: ['a'],
      hasToken: true,
      url,
      at: '1970-01-01T00:00:00.000Z',
    });
  });
});

test.each([
  ['authorization', true],
  ['Proxy-Authorization', true],
  ['API_TOKEN', true],
  ['nextPageToken', true],
  ['x-api-key', true],
  ['DATABASE_URL', true],
  ['totalTokens', false],
  ['key', false],
  ['secrets', false],
])('%s is the name of a secret: %s', (name, expected) => {
  expect(isSecretName(name)).toBe(expected);
});

test.each([
  ['https://u:p@h/x', 'https://[redacted]@h/x'],
  ['postgres://u:p@h:5/db and https://t@h', 'postgres://[redacted]@h:5/db and https://[redacted]@h'],
  ['ssh://git@h/x', 'ssh://git@h/x'],
  ['ssh://git:p@h/x', 'ssh://git:[redacted]@h/x'],
  ['https://h/x?token=abc', 'https://h/x?token=[redacted]'],
  ['https://h/a@b', 'https://h/a@b'],
])('%s', (text, expected) => {
  expect(withoutUrlSecrets(text)).toBe(expected);
});

// What nearly is a URL with a credential, over and over.
test.each(['a.', 'a-', 'a://', 'ssh://', 'ssh://a:', '?token', '&', 'token=', 'a://b:b'])(
  'looking for credentials in URLs of %j repeated to 1 MiB takes time in proportion',
  (unit) => {
    const startedAt = performance.now();
    withoutUrlSecrets(`=://${unit.repeat(Math.ceil(1_048_576 / unit.length))}`);
    expect(performance.now() - startedAt).toBeLessThan(3_000);
  },
);

describe('an error of Postgres about a value', () => {
  test.each(['cause', 'err'])('is logged as %s by its code, without the value', (field) => {
    const { logger, written } = lines();
    const error = new pg.DatabaseError(`invalid input syntax for type json: "${canary}"`, 1, 'error');
    error.code = '22P02';
    error.detail = canary;
    logger.error({ [field]: field === 'err' ? error : new Error('it failed', { cause: error }) }, 'x');
    expect(written.join('')).not.toContain(canary);
    expect(written.join('')).toContain('22P02');
  });
});
