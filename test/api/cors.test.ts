import { describe, expect, it } from 'vitest';
import { originsSetting } from '../../infra/config/cors-setting.js';
import { startApi } from '../support/api.js';
import { useApi } from '../support/use-api.js';

const consoleOrigin = 'https://console.example';
const { api, database } = await useApi({ corsOrigins: [consoleOrigin, 'http://localhost:3000'] });
const path = '/api/v1/sessions';
const exposed = 'retry-after,x-trace-id,ratelimit,ratelimit-policy';

/** The names of the headers that are about CORS, with their values. */
const corsHeaders = (headers: Headers) =>
  Object.fromEntries([...headers].filter(([name]) => name.startsWith('access-control-')));

const preflight = (origin: string, url = path) =>
  api.call('OPTIONS', url, {
    token: null,
    headers: {
      origin,
      'access-control-request-method': 'GET',
      'access-control-request-headers': 'authorization,last-event-id',
    },
  });

describe('a page of an origin that is listed', () => {
  it('is told before its request what it may send', async () => {
    const methodsAt = {
      [path]: 'POST, GET, HEAD, OPTIONS',
      '/api/v1/runs/run_1/stream': 'GET, HEAD, OPTIONS',
      '/api/v1/webhooks/whk_1': 'GET, PATCH, DELETE, HEAD, OPTIONS',
      '/openapi.json': 'GET, HEAD, OPTIONS',
      // It may ask, and reads the 404.
      '/api/v1/no-such-route': undefined,
    };
    for (const [url, methods] of Object.entries(methodsAt)) {
      const answer = await preflight(consoleOrigin, url);
      expect([url, answer.status, answer.text]).toEqual([url, 204, '']);
      expect(corsHeaders(answer.headers)).toEqual({
        'access-control-allow-origin': consoleOrigin,
        ...(methods === undefined ? {} : { 'access-control-allow-methods': methods }),
        'access-control-allow-headers':
          'authorization,content-type,last-event-id,idempotency-key,traceparent,tracestate',
        'access-control-expose-headers': exposed,
        'access-control-max-age': '600',
      });
    }
  });

  it('may read how many requests are left', async () => {
    const limited = await startApi(database, { corsOrigins: [consoleOrigin], rateLimitPerMinute: 100 });
    try {
      const { headers } = await limited.call('GET', path, { headers: { origin: consoleOrigin } });
      const sent = [...headers.keys()].filter((name) => /rate-?limit/.test(name));
      expect(sent.toSorted()).toEqual(['ratelimit', 'ratelimit-policy']);
      expect(headers.get('access-control-expose-headers')?.split(',')).toEqual(expect.arrayContaining(sent));
    } finally {
      await limited.stop();
    }
  });

  it('may read answers, refusals too, and still needs a token', async () => {
    const headers = { origin: 'http://localhost:3000' };
    const answers = [
      await api.call('GET', path, { headers }),
      await api.call('GET', path, { headers, token: null }),
      await api.call('GET', '/api/v1/no-such-route', { headers }),
      await api.call('GET', `${path}/%zz`, { headers }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 401, 404, 400]);
    for (const answer of answers) {
      expect(corsHeaders(answer.headers)).toEqual({
        'access-control-allow-origin': 'http://localhost:3000',
        'access-control-expose-headers': exposed,
      });
      expect(answer.headers.get('vary')).toMatch(/^Origin/);
    }
  });
});

describe('a page of another origin', () => {
  it.each(['https://evil.example', 'https://console.example.evil.example', 'http://console.example', 'null'])(
    '%s gets no such header',
    async (origin) => {
      const asked = await preflight(origin);
      expect([asked.status, corsHeaders(asked.headers)]).toEqual([204, {}]);
      expect(asked.headers.get('allow')).toBe('POST, GET, HEAD, OPTIONS');
      const answer = await api.call('GET', path, { headers: { origin } });
      expect([answer.status, corsHeaders(answer.headers)]).toEqual([200, {}]);
      expect(answer.headers.get('vary')).toMatch(/^Origin/);
    },
  );
});

it('without a list nobody gets such a header', async () => {
  const other = await startApi(database);
  try {
    const headers = { origin: consoleOrigin, 'access-control-request-method': 'GET' };
    for (const method of ['OPTIONS', 'GET']) {
      const answer = await other.call(method, path, { headers });
      expect([corsHeaders(answer.headers), answer.headers.get('vary')]).toEqual([{}, null]);
    }
  } finally {
    await other.stop();
  }
});

describe('the list of origins', () => {
  it.each<[string, readonly string[]]>([
    ['', []],
    [' , ', []],
    ['https://a.example', ['https://a.example']],
    ['https://a.example, http://localhost:3000', ['https://a.example', 'http://localhost:3000']],
  ])('%j', (text, origins) => {
    expect(originsSetting.parse(text)).toEqual(origins);
  });

  it.each([
    '*',
    'null',
    'a.example',
    'https://a.example/',
    'https://a.example/x',
    'HTTPS://A.example',
    'ftp://a',
    'https://a:443',
  ])('holds no %j', (text) => {
    expect(originsSetting.safeParse(text).success).toBe(false);
  });
});
