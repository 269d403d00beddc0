import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ProviderProxy, type ProviderProxyOptions } from '../../runner/proxy/provider-proxy.js';
import { proxyTimings } from '../../runner/proxy/proxied-exchange.js';
import { resetTimeMs } from '../../runner/proxy/proxied-headers.js';
import type { ProxyObservation } from '../../runner/proxy/proxy-observation.js';

const key = 'sk-the-real-key-of-the-provider';
const completed = {
  type: 'response.completed',
  response: {
    model: 'gpt-5-codex',
    usage: {
      input_tokens: 100,
      input_tokens_details: { cached_tokens: 40 },
      output_tokens: 12,
      output_tokens_details: { reasoning_tokens: 5 },
      total_tokens: 112,
    },
  },
};
const stream = Buffer.from(
  `event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"naïve 🐦"}\n\n` +
    `event: response.completed\ndata: ${JSON.stringify(completed)}\n\n`,
);

interface Seen {
  readonly request: IncomingMessage;
  readonly body: Promise<Buffer>;
}

describe('ProviderProxy', () => {
  let upstream: Server;
  let proxy: ProviderProxy;
  let upstreamBaseUrl: string;
  let logged: string[];
  let observations: ProxyObservation[];
  let seen: Seen[];
  let respond: (request: IncomingMessage, response: ServerResponse) => void;

  beforeEach(async () => {
    observations = [];
    seen = [];
    respond = (_request, response) => response.end();
    upstream = createServer((request, response) => {
      const body = read(request);
      // A request that is cut in the middle fails whoever asks for its body, and nobody else.
      body.catch(() => undefined);
      seen.push({ request, body });
      respond(request, response);
    });
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
    const address = upstream.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    upstreamBaseUrl = `http://127.0.0.1:${port}/gateway/v1/`;
    logged = [];
    await open({});
  });

  /** Another proxy in place of the usual one. */
  async function restart(options: Partial<ProviderProxyOptions>): Promise<void> {
    await proxy.close();
    await open(options);
  }

  async function open(options: Partial<ProviderProxyOptions>): Promise<void> {
    proxy = new ProviderProxy({
      upstreamBaseUrl,
      key,
      onObservation: (observation) => observations.push(observation),
      onProgress: () => undefined,
      log: { warn: (fields, message) => logged.push(JSON.stringify([fields, message])) },
      ...options,
    });
    await proxy.listen();
    proxy.openTurn();
  }

  afterEach(async () => {
    await proxy.close();
    upstream.closeAllConnections();
    await new Promise<void>((resolve) => upstream.close(() => resolve()));
  });

  function ask(
    path: string,
    options: { authorization?: string; method?: string; body?: Buffer; unfinished?: boolean } = {},
  ) {
    const url = `${proxy.baseUrl.slice(0, -3)}${path}`;
    const request = httpRequest(url, {
      method: options.method ?? 'POST',
      headers: {
        authorization: options.authorization ?? `Bearer ${proxy.placeholderKey}`,
        'content-type': 'application/json',
        'accept-encoding': 'gzip',
        connection: 'keep-alive, x-one-hop',
        'x-one-hop': 'yes',
      },
    });
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve);
      request.once('error', reject);
    });
    // A test that breaks the connection does not wait for an answer.
    answer.catch(() => undefined);
    if (options.unfinished === true) request.write(options.body);
    else request.end(options.body ?? Buffer.from('{}'));
    return { request, answer };
  }

  test('passes bytes unchanged both ways, cut anywhere, and reads usage across the cuts', async () => {
    respond = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      let at = 0;
      const next = (): void => {
        if (at >= stream.length) {
          response.end();
          return;
        }
        response.write(stream.subarray(at, at + 1));
        at += 1;
        setImmediate(next);
      };
      next();
    };
    const body = Buffer.from('{"input":"naïve 🐦"}');
    const answer = await ask('/v1/responses', { body }).answer;
    expect(await read(answer)).toEqual(stream);
    const [first] = seen;
    expect(await first?.body).toEqual(body);
    expect(first?.request.url).toBe('/gateway/v1/responses');
    expect(first?.request.headers).toMatchObject({
      authorization: `Bearer ${key}`,
      'accept-encoding': 'identity',
    });
    expect(first?.request.headers).not.toHaveProperty('x-one-hop');
    expect(observations).toMatchObject([
      {
        status: 200,
        model: 'gpt-5-codex',
        ended: 'complete',
        usage: {
          inputTokens: 100,
          cachedInputTokens: 40,
          outputTokens: 12,
          reasoningOutputTokens: 5,
          totalTokens: 112,
        },
      },
    ]);
  });

  test('tells of the end before the agent sees it', async () => {
    respond = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(stream);
    };
    const answer = await ask('/v1/responses').answer;
    await new Promise<void>((resolve) => answer.once('data', () => resolve()));
    expect(observations).toHaveLength(1);
    answer.destroy();
  });

  test.each([
    ['between turns', '/v1/responses', {}, true],
    ['with another key', '/v1/responses', { authorization: 'Bearer agentrun-guess' }, false],
    ['with the real key', '/v1/responses', { authorization: `Bearer ${key}` }, false],
    ['on another path', '/v1/files', {}, false],
    ['with another method', '/v1/responses', { method: 'DELETE' }, false],
    ['on a path that climbs', '/v1/responses/../files', {}, false],
  ])('403 %s', async (_name, path, options, closed) => {
    if (closed) proxy.closeTurn();
    const answer = await ask(path, options).answer;
    expect(answer.statusCode).toBe(403);
    expect(JSON.parse((await read(answer)).toString())).toMatchObject({
      error: { type: 'agentrun_proxy_error' },
    });
    expect(seen).toEqual([]);
    expect(observations).toEqual([]);
  });

  test('an error body and its reset time', async () => {
    respond = (_request, response) => {
      response.writeHead(429, { 'content-type': 'application/json', 'retry-after': '30' });
      response.end(JSON.stringify({ error: { message: 'slow down', code: 'rate_limit_exceeded' } }));
    };
    const before = Date.now();
    const answer = await ask('/v1/responses').answer;
    expect(answer.statusCode).toBe(429);
    await read(answer);
    expect(observations).toMatchObject([
      { status: 429, errorCode: 'rate_limit_exceeded', errorMessage: 'slow down' },
    ]);
    expect(observations[0]?.resetAtMs).toBeGreaterThanOrEqual(before + 30_000);
    expect(observations[0]?.resetAtMs).toBeLessThan(before + 40_000);
  });

  test('upstream dies in the middle: the agent sees a broken stream', async () => {
    respond = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(stream.subarray(0, 40));
      setImmediate(() => response.destroy());
    };
    const answer = await ask('/v1/responses').answer;
    await expect(read(answer)).rejects.toThrow();
    expect(observations).toMatchObject([{ status: 200, ended: 'upstream-lost', usage: null }]);
  });

  test('the agent leaves in the middle: upstream is aborted', async () => {
    let aborted: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => {
      aborted = resolve;
    });
    respond = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(stream.subarray(0, 40));
      response.once('close', () => aborted());
    };
    const { request, answer } = ask('/v1/responses');
    await answer;
    request.destroy();
    await gone;
    expect(observations).toMatchObject([{ ended: 'client-left' }]);
  });

  test('the end of the turn cuts what still streams', async () => {
    respond = (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(stream.subarray(0, 40));
    };
    const answer = await ask('/v1/responses').answer;
    proxy.closeTurn();
    await expect(read(answer)).rejects.toThrow();
  });

  test('an unreachable provider is a 502 in the shape of the API', async () => {
    upstream.closeAllConnections();
    await new Promise<void>((resolve) => upstream.close(() => resolve()));
    const answer = await ask('/v1/responses').answer;
    expect(answer.statusCode).toBe(502);
    expect(JSON.parse((await read(answer)).toString())).toMatchObject({
      error: { code: 'agentrun_upstream_unreachable' },
    });
    expect(observations).toMatchObject([{ status: null, ended: 'unreachable' }]);
    upstream = createServer();
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
  });

  describe('bounded waits', () => {
    const timings = { ...proxyTimings, headersMs: 400, silenceMs: 400, clientMs: 400 };

    test('a provider that never answers: 504, and from the third request on at once', async () => {
      await restart({ timings });
      respond = () => undefined;
      for (let count = 1; count <= 3; count += 1) {
        const answer = await ask('/v1/responses').answer;
        expect(answer.statusCode).toBe(504);
        expect((await read(answer)).toString()).toContain('agentrun_upstream_silent');
      }
      expect(seen).toHaveLength(2);
      expect(observations.map(({ ended, status }) => [ended, status])).toEqual(
        Array.from({ length: 3 }, () => ['upstream-silent', null]),
      );
      expect(proxy.lastObservation?.ended).toBe('upstream-silent');
      // The next turn tries anew.
      proxy.openTurn();
      respond = (_request, response) => response.end('{}');
      expect((await ask('/v1/responses').answer).statusCode).toBe(200);
    });

    test('a provider that falls silent in its answer: the agent sees a broken stream', async () => {
      await restart({ timings });
      respond = (_request, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(stream.subarray(0, 40));
      };
      await expect(read(await ask('/v1/responses').answer)).rejects.toThrow();
      expect(observations).toMatchObject([{ status: 200, ended: 'upstream-silent' }]);
    });

    test('a provider that keeps saying something is never cut', async () => {
      await restart({ timings });
      respond = (_request, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        let said = 0;
        const beat = setInterval(() => {
          said += 1;
          if (said < 30) return void response.write(': still here\n\n');
          clearInterval(beat);
          response.end(stream);
        }, 25);
      };
      const answer = await read(await ask('/v1/responses').answer);
      expect(answer.includes(stream)).toBe(true);
      expect(observations).toMatchObject([{ ended: 'complete' }]);
    });

    test('an agent that sends half a request: upstream is let go', async () => {
      await restart({ timings });
      respond = () => undefined;
      const { request } = ask('/v1/responses', { body: Buffer.from('{'), unfinished: true });
      await new Promise<void>((resolve) => request.once('close', () => resolve()));
      expect(observations).toMatchObject([{ ended: 'client-left', status: null }]);
    });

    test('an agent that reads nothing: it is the one that left', async () => {
      await restart({ timings });
      const left = new Promise<void>((resolve) => {
        respond = (_request, response) => {
          response.once('close', () => resolve());
          response.writeHead(200, { 'content-type': 'text/event-stream' });
          const flood = Buffer.alloc(1 << 20, 'x');
          const more = (): void => {
            while (!response.destroyed && response.write(flood));
          };
          response.on('drain', more);
          more();
        };
      });
      const answer = await ask('/v1/responses').answer;
      answer.pause();
      await left;
      expect(observations).toMatchObject([{ ended: 'client-left', status: 200 }]);
      answer.destroy();
    });
  });

  test('a provider that repeats the key in its error: nothing of the body is logged', async () => {
    respond = (_request, response) => {
      response.writeHead(401, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: { message: `bad key ${key}`, code: 'invalid_api_key' } }));
    };
    await read(await ask('/v1/responses').answer);
    expect(observations).toMatchObject([{ status: 401, errorMessage: `bad key ${key}` }]);
    expect(logged).toEqual([]);
  });

  test('a look at the models is no request to a model: no observation, no usage, no progress', async () => {
    let progress = 0;
    await restart({ onProgress: () => (progress += 1) });
    for (const status of [200, 500]) {
      respond = (_request, response) => response.writeHead(status).end('{"data":[]}');
      const answer = await ask('/v1/models', { method: 'GET', body: Buffer.alloc(0) }).answer;
      expect((await read(answer)).toString()).toBe('{"data":[]}');
    }
    expect(observations).toEqual([]);
    expect(proxy.lastObservation).toBeNull();
    expect(progress).toBe(0);
  });

  test.each([
    [200, true],
    [400, false],
    [401, false],
    [429, false],
    [503, false],
  ])('the body of a %i is a word of the model: %s', async (status, isProgress) => {
    let progress = 0;
    await restart({ onProgress: () => (progress += 1) });
    respond = (_request, response) => response.writeHead(status).end('{"error":{"message":"x"}}');
    await read(await ask('/v1/responses').answer);
    expect(progress > 0).toBe(isProgress);
    expect(observations).toMatchObject([{ status }]);
  });

  describe('allowed models', () => {
    test.each([
      ['allowed', '{"model":"gpt-5-codex"}', 200],
      ['another', '{"model":"gpt-9"}', 404],
      ['none', '{}', 404],
      ['no JSON', 'model=gpt-5-codex', 404],
    ])('%s', async (_name, body, status) => {
      await restart({ allowedModels: ['gpt-5-codex'] });
      respond = (_request, response) => response.end('{}');
      const answer = await ask('/v1/responses', { body: Buffer.from(body) }).answer;
      expect(answer.statusCode).toBe(status);
      const text = (await read(answer)).toString();
      if (status === 200) {
        expect((await seen[0]?.body)?.toString()).toBe(body);
        return;
      }
      expect(JSON.parse(text)).toMatchObject({ error: { code: 'model_not_found' } });
      expect(seen).toEqual([]);
      expect(proxy.lastObservation).toMatchObject({
        ended: 'refused-by-proxy',
        errorCode: 'model_not_found',
      });
    });
  });

  test.each([
    [{ resets_at: 1_900_000_000 }, 1_900_000_000_000],
    [{ resets_at: 'soon' }, null],
    [{}, null],
  ])('a usage limit that says when it is over: %j', async (fields, expected) => {
    respond = (_request, response) => {
      response.writeHead(429, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ error: { message: 'x', type: 'usage_limit_reached', ...fields } }));
    };
    await read(await ask('/v1/responses').answer);
    expect(observations).toMatchObject([{ errorCode: 'usage_limit_reached', resetAtMs: expected }]);
  });
});

describe('resetTimeMs', () => {
  test.each([
    [{ 'retry-after': '2' }, 2_000],
    [{ 'retry-after': 'Thu, 01 Jan 1970 00:00:09 GMT' }, 9_000],
    [{ 'x-ratelimit-reset-tokens': '6m0s', 'x-ratelimit-reset-requests': '120ms' }, 360_000],
    [{ 'retry-after-ms': '1500', 'retry-after': '9' }, 1_500],
    [{ 'retry-after': 'soon', 'x-ratelimit-reset-requests': '7' }, 7_000],
    [{ 'x-ratelimit-reset-tokens': 'soon' }, null],
    [{ 'x-ratelimit-reset-tokens': '99999999999999999999d' }, null],
    [{}, null],
  ])('%j', (headers, expected) => {
    expect(resetTimeMs(headers, 0)).toBe(expected);
  });

  test.each(['1700000000', '1700000000000'])('an epoch time: %s', (reset) => {
    expect(resetTimeMs({ 'x-ratelimit-reset': reset }, 1_699_999_990_000)).toBe(1_700_000_000_000);
  });
});

function read(stream: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.once('end', () => resolve(Buffer.concat(chunks)));
    stream.once('error', reject);
  });
}
