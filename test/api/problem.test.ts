import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { errorEnvelopeSchema } from '../../contract/envelope.js';
import { requestFailureKinds } from '../../contract/failure-kinds.js';
import { problemSchema } from '../../contract/problem.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { useApi } from '../support/use-api.js';

const { api } = await useApi({ pathPrefix: '/base' });

const failures: [string, string, string, number][] = [
  ['an unknown thing', 'GET', '/api/v1/sessions/unknown', 404],
  ['an unknown route', 'GET', '/nothing', 404],
  ['another method', 'PUT', '/api/v1/sessions', 405],
  ['a wrong query', 'GET', '/api/v1/sessions/s/trace?limit=x', 400],
  ['a broken target', 'GET', '/health?x=%ff', 400],
];
const ask = (method: string, path: string, accept: string, token?: null) =>
  api.call(method, path, { headers: { accept }, ...(token === null ? { token } : {}) });

describe('application/problem+json', () => {
  it.each(failures)('says of %s what the envelope says', async (_name, method, path, status) => {
    const plain = await ask(method, path, 'application/json');
    const answer = await ask(method, path, 'application/problem+json');
    expect([plain.status, answer.status]).toEqual([status, status]);
    expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
    for (const each of [plain, answer]) expect(each.headers.get('vary')).toContain('Accept');
    const { error } = errorEnvelopeSchema.parse(plain.body);
    const problem = problemSchema.parse(JSON.parse(answer.text));
    expect(problem).toEqual({
      type: `/base/docs/errors.md#${error.failureKind}`,
      title: expect.any(String),
      status,
      detail: error.message,
      failureKind: error.failureKind,
      traceId: answer.headers.get('x-trace-id'),
      ...(error.details === undefined ? {} : { details: error.details }),
    });
    expect(answer.headers.get('allow')).toBe(plain.headers.get('allow'));
  });

  it('is there without a token', async () => {
    const answer = await ask('GET', '/api/v1/sessions/s', 'application/problem+json', null);
    expect([answer.status, problemSchema.parse(JSON.parse(answer.text)).failureKind]).toEqual([
      401,
      'unauthorized',
    ]);
    expect(answer.headers.get('www-authenticate')).toContain('Bearer');
  });

  const preferences: [string, 'json' | 'problem+json'][] = [
    ['*/*', 'json'],
    ['application/*', 'json'],
    ['text/html', 'json'],
    ['application/json, application/problem+json', 'json'],
    ['application/problem+json, application/json', 'problem+json'],
    ['application/json;q=0.5, application/problem+json', 'problem+json'],
    ['application/problem+json;q=0.1, application/json', 'json'],
    ['application/problem+json;q=0, */*', 'json'],
    ['Application/Problem+JSON', 'problem+json'],
    ['nonsense', 'json'],
    ['', 'json'],
  ];
  it.each(preferences)('accept: %s is answered as %s', async (accept, expected) => {
    const answer = await ask('GET', '/nothing', accept);
    expect(answer.headers.get('content-type')).toBe(`application/${expected}; charset=utf-8`);
  });

  it('leaves success as it is', async () => {
    const answer = await ask('GET', '/health', 'application/problem+json');
    expect([answer.status, answer.headers.get('content-type')]).toEqual([
      200,
      'application/json; charset=utf-8',
    ]);
  });

  it.each(Object.keys(requestFailureKinds))('has a type whose anchor the docs have: %s', (kind) => {
    expect(readFileSync(join(packageRoot(), 'docs/errors.md'), 'utf8')).toContain(`<a id="${kind}"></a>`);
  });
});
