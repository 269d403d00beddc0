import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ProviderProxy } from '../../runner/proxy/provider-proxy.js';
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
  let observations: ProxyObservation[];
  let seen: Seen[];
  let respond: (request: IncomingMessage, response: ServerResponse) => void;

  beforeEach(async () => {
    observations = [];
    seen = [];
    respond = (_request, response) => response.end();
    upstream = createServer((request, response) => {
      seen.push({ request, body: read(request) });
      respond(request, response);
    });
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
    const address = upstream.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    proxy = new ProviderProxy({
      upstreamBaseUrl: `http://127.0.0.1:${port}/gateway/v1/`,
      key,
      onObservation: (observation) => observations.push(observation),
      onProgress: () => undefined,
      log: { warn: () => undefined },
    });
    await proxy.listen();
    proxy.openTurn();
  });

  afterEach(async () => {
    await proxy.close();
    upstream.closeAllConnections();
    await new Promise<void>((resolve) => upstream.close(() => resolve()));
  });

  function ask(path: string, options: { authorization?: string; method?: string; body?: Buffer } = {}) {
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
    request.end(options.body ?? Buffer.from('{}'));
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
});

describe('resetTimeMs', () => {
  test.each([
    [{ 'retry-after': '2' }, 2_000],
    [{ 'retry-after': 'Thu, 01 Jan 1970 00:00:09 GMT' }, 9_000],
    [{ 'x-ratelimit-reset-tokens': '6m0s', 'x-ratelimit-reset-requests': '120ms' }, 360_000],
    [{ 'x-ratelimit-reset-tokens': 'soon' }, null],
    [{}, null],
  ])('%j', (headers, expected) => {
    expect(resetTimeMs(headers, 0)).toBe(expected);
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
