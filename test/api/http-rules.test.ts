import { request as httpRequest } from 'node:http';
import { describe, expect, it } from 'vitest';
import { routeTable } from '../../api/routes/index.js';
import { useApi } from '../support/use-api.js';

const { api } = await useApi({ pathPrefix: '/agentrun' });

const send = (body: unknown, headers: Record<string, string> = {}) =>
  api.call('POST', '/api/v1/sessions/s1/send', { body, headers });

/** A request whose method or target fetch would not send. */
function rawStatus(method: string, path: string): Promise<{ status: number; allow: string | undefined }> {
  return new Promise((resolve, reject) => {
    const sent = httpRequest(api.url, { method, path }, (response) => {
      response.resume();
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, allow: response.headers.allow }),
      );
    });
    sent.once('error', reject);
    sent.end();
  });
}

describe('a wrong body', () => {
  const run = { tenantId: 'acme', projectId: 'web' };
  it.each([
    ['bad JSON', '{"prompt":', 'body'],
    ['an array', [], 'body'],
    ['an empty prompt', { prompt: '   ', run }, 'prompt'],
    ['no prompt', { run }, 'prompt'],
    ['an unknown field', { prompt: 'x', promt: 'y' }, 'promt'],
    ['an unknown field inside', { prompt: 'x', run: { ...run, tenant: 'a' } }, 'run.tenant'],
    ['a wrong type', { prompt: 7 }, 'prompt'],
    ['a boolean as text', { prompt: 'x', dryRun: 'true' }, 'dryRun'],
    ['an unknown word', { prompt: 'x', whenBusy: 'shout' }, 'whenBusy'],
    ['an empty payload', { payload: {} }, 'payload.prompt'],
    [
      'a profile without a driver',
      { prompt: 'x', run: { ...run, backendProfile: 'gpt' } },
      'run.backendProfile',
    ],
    ['U+0000', '{"prompt":"a\\u0000b"}', 'body'],
    ['33 levels', `{"payload":${'['.repeat(33)}${']'.repeat(33)}}`, 'body'],
  ])('%s is 400 and names the field', async (_name, body, field) => {
    const answer = await send(body);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({
      ok: false,
      failureKind: 'schema-invalid',
      error: { failureKind: 'schema-invalid', details: { issues: [{ path: field }] } },
    });
    expect(String(answer.body.message)).toContain(`${field}: `);
  });

  it('never shows the value of a field', async () => {
    const answer = await send({ prompt: 'x', token: 'very-secret-value', whenBusy: 'another-secret' });
    expect(answer.status).toBe(400);
    expect(answer.text).not.toMatch(/very-secret-value|another-secret/);
  });

  it.each(['has space', '.hidden', 'a/b', 'ä', 'x'.repeat(129)])('session id %j is 400', async (id) => {
    const answer = await api.call('POST', `/api/v1/sessions/${encodeURIComponent(id)}/send`, {
      body: { prompt: 'x' },
    });
    expect(answer.status).toBe(400);
    expect(answer.body.message).toContain('sessionId: expected 1 to 128 characters');
  });

  it('of a prompt above 256 KiB is 400', async () => {
    const answer = await send({ prompt: 'x'.repeat(262_145) });
    expect([answer.status, answer.body.failureKind]).toEqual([400, 'schema-invalid']);
  });
});

describe('routing', () => {
  it('tells an unknown route from an unknown thing', async () => {
    expect((await api.call('GET', '/api/v1/nothing')).body.failureKind).toBe('route-not-found');
    expect((await api.call('GET', '/api/v1/sessions/unknown')).body.failureKind).toBe('not-found');
    expect((await api.call('GET', '/API/v1/sessions/unknown')).body.failureKind).toBe('route-not-found');
  });

  it('answers a wrong method with 405 and Allow, TRACE too', async () => {
    const answer = await api.call('DELETE', '/api/v1/sessions/s1/trace');
    expect([answer.status, answer.headers.get('allow'), answer.body.failureKind]).toEqual([
      405,
      'GET, HEAD, OPTIONS',
      'method-not-allowed',
    ]);
    for (const method of ['TRACE', 'PROPFIND', 'PUT', 'PATCH']) {
      const refused = await rawStatus(method, '/api/v1/runs/run_x/cancel');
      expect([method, refused]).toEqual([method, { status: 405, allow: 'POST, OPTIONS' }]);
    }
  });

  it('answers OPTIONS with 204 and Allow, HEAD as GET without a body', async () => {
    const options = await api.call('OPTIONS', '/api/v1/runs/run_x/commands', { token: null });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'POST, GET, HEAD, OPTIONS']);
    const head = await api.call('HEAD', '/health');
    expect([head.status, head.text]).toEqual([200, '']);
    expect(Number(head.headers.get('content-length'))).toBeGreaterThan(100);
  });

  it('takes a slash at the end, the prefix, and unknown query parameters', async () => {
    for (const path of ['/health/', '/agentrun/health', '/agentrun/health/live/?x=1&x=2', '/healthz']) {
      expect([path, (await api.call('GET', path)).status]).toEqual([path, 200]);
    }
    expect((await api.call('GET', '/agentrunner/health')).status).toBe(404);
  });

  it('answers malformed percent-encoding with 400', async () => {
    expect((await rawStatus('GET', '/api/v1/sessions/%zz')).status).toBe(400);
    expect((await rawStatus('GET', '/nothing/%E0%A4%A')).status).toBe(400);
    expect((await rawStatus('GET', '/health?x=%')).status).toBe(400);
    expect((await rawStatus('GET', '/health?x=%ff')).status).toBe(400);
  });

  it('answers U+0000 in path and query with 400', async () => {
    for (const path of ['/api/v1/sessions/a%00b', '/nothing%00', '/health?x=%00'])
      expect([path, (await rawStatus('GET', path)).status]).toEqual([path, 400]);
  });

  it('reads integers in the query as decisions.md says', async () => {
    const path = '/api/v1/runs/run_00000000000000000000000000/events';
    for (const good of ['limit=', 'limit=5&limit=x', 'limit=%207%20', '']) {
      expect([good, (await api.call('GET', `${path}?${good}`)).status]).toEqual([good, 404]);
    }
    for (const bad of [
      'limit=abc',
      'limit=0',
      'limit=1001',
      'limit=1.5',
      'limit=-1',
      'afterSeq=x',
      'waitMs=25001',
    ]) {
      const answer = await api.call('GET', `${path}?${bad}`);
      expect([bad, answer.status]).toEqual([bad, 400]);
      expect(answer.body.message).toContain('query.');
    }
  });
});

describe('the envelope', () => {
  it('ends with a newline, is JSON and no cache keeps it', async () => {
    const answer = await api.call('GET', '/health/live');
    expect(answer.text.endsWith('}\n')).toBe(true);
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(answer.headers.get('x-powered-by')).toBeNull();
    expect(answer.body).toMatchObject({
      ok: true,
      traceId: expect.stringMatching(/^[0-9a-f]{32}$/) as unknown,
    });
  });

  it('has one trace id per request', async () => {
    const ids = await Promise.all(
      [1, 2, 3].map(async () => (await api.call('GET', '/health/live')).body.traceId),
    );
    expect(new Set(ids).size).toBe(3);
  });

  it('is there on every route without a token, with the reason', async () => {
    for (const { contract: route } of routeTable(api.deps)) {
      if (route.auth === 'none') continue;
      const path = route.path
        .replace(':sessionId', 's1')
        .replace(':runId', 'run_00000000000000000000000000')
        .replace(':commandId', 'cmd_00000000000000000000000000')
        .replace(':taskId', 'task_00000000000000000000000000')
        .replace(':runnerId', 'rnr_1');
      const answer = await api.call(route.method.toUpperCase(), path, { token: null });
      expect([route.path, answer.status, answer.body.failureKind]).toEqual([route.path, 401, 'unauthorized']);
      expect(answer.headers.get('www-authenticate')).toContain('Bearer');
    }
  });
});
