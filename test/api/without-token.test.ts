import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { useApi } from '../support/use-api.js';

const { api: guarded } = await useApi();
const { api: open } = await useApi({ apiTokens: [] });

/** The status of a GET with these header lines, of which fetch would not send some. */
function rawStatus(url: string, path: string, ...headers: string[]): Promise<number> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    let text = '';
    socket.setTimeout(5_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0)));
    socket.write(`${[`GET ${path} HTTP/1.1`, 'connection: close', ...headers].join('\r\n')}\r\n\r\n`);
  });
}
const whoami = '/api/v1/whoami';
const local = 'host: 127.0.0.1';

describe('where no token is configured', () => {
  it.each([
    'forwarded: for=192.0.2.1',
    'via: 1.1 proxy.example',
    'x-forwarded-for: 192.0.2.1',
    'X-Forwarded-Host: agents.example',
    'x-forwarded-proto: https',
    'x-real-ip: 192.0.2.1',
    'sec-fetch-site: cross-site',
    'sec-fetch-site: same-site',
  ])('a request with %s is refused: it comes from elsewhere', async (header) => {
    expect(await rawStatus(open.url, whoami, local, header)).toBe(403);
  });

  it.each(['sec-fetch-site: none', 'sec-fetch-site: same-origin', 'x-forwarded: no'])(
    'a request with %s is let in',
    async (header) => {
      expect(await rawStatus(open.url, whoami, local, header)).toBe(200);
    },
  );

  it.each([
    '/health',
    '/health/live',
    '/healthz',
    '/health/readiness',
    '/readyz',
    '/openapi.json',
    '/docs',
    '/docs/swagger-ui.css',
    whoami,
    '/nothing',
  ])('%s is answered under a name of this machine only', async (path) => {
    expect(await rawStatus(open.url, path, 'host: evil.example')).toBe(403);
    expect(await rawStatus(open.url, path, local)).toBe(path === '/nothing' ? 404 : 200);
  });
});

describe('where tokens are configured', () => {
  it('health and docs are answered under any name, also through a proxy', async () => {
    for (const path of ['/health', '/openapi.json', '/docs'])
      expect(await rawStatus(guarded.url, path, 'host: agents.example', 'x-forwarded-for: 192.0.2.1')).toBe(
        200,
      );
  });
});

it.each([
  ['two', ['host: 127.0.0.1', 'host: 127.0.0.1'], 400],
  ['two that differ', ['host: 127.0.0.1', 'host: evil.example'], 400],
  ['no', [], 400],
  ['one', ['host: 127.0.0.1'], 200],
])('a request with %s Host is %j: %i', async (_name, headers, status) => {
  for (const api of [guarded, open]) expect(await rawStatus(api.url, '/health', ...headers)).toBe(status);
});
