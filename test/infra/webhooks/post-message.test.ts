import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import type { LookupFunction, Socket } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { type PostResult, postMessage } from '../../../infra/webhooks/post-message.js';
import { serverPort } from '../../support/server-port.js';
import { startWebhookReceiver } from '../../support/webhook-receiver.js';

const opened: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of opened.splice(0)) await stop();
});
async function receiver(options?: Parameters<typeof startWebhookReceiver>[0]) {
  const started = await startWebhookReceiver(options);
  opened.push(() => started.stop());
  return started;
}
const message = { headers: { 'webhook-id': 'dlv_1' }, body: '{"a":1}' };
/** Writes a text byte by byte until the connection ends. */
function drip(socket: Socket, text: string): void {
  let at = 0;
  const timer = setInterval(() => socket.write(text[at++] ?? ' '), 5);
  socket.once('close', () => clearInterval(timer));
}
/** A name server that gives these answers one after another, and counts. */
function answering(...answers: (readonly string[])[]) {
  const asked: string[] = [];
  const lookup: LookupFunction = (hostname, options, callback) => {
    const addresses = (answers[asked.length] ?? answers.at(-1) ?? []).map((address) => ({
      address,
      family: address.includes(':') ? 6 : 4,
    }));
    asked.push(hostname);
    const [first] = addresses;
    if (options.all === true) callback(null, addresses);
    else callback(null, first?.address ?? '', first?.family);
  };
  return { lookup, asked };
}

describe('a message', () => {
  it('is posted once, and its answer is read to the end', async () => {
    const { url, host, received } = await receiver({ body: 'thanks' });
    const result = await postMessage(url, message, { allowedHosts: [host] });
    expect(result).toMatchObject({ status: 200, failure: null, retryAfterMs: null });
    expect(received).toEqual([
      { headers: expect.objectContaining({ 'webhook-id': 'dlv_1', 'content-length': '7' }), body: '{"a":1}' },
    ]);
  });

  it.each([
    [201, null],
    [204, null],
    [400, 'http-status'],
    [500, 'http-status'],
    [410, 'gone'],
    [304, 'redirect'],
  ])('answered with %i is: %s', async (status, failure) => {
    const { url, host, answers } = await receiver();
    answers.push(status);
    expect(await postMessage(url, message, { allowedHosts: [host] })).toMatchObject({ status, failure });
  });

  it.each([301, 302, 307, 308])('follows no redirect %i', async (status) => {
    const target = await receiver();
    const { url, host, answers } = await receiver({ headers: { location: target.url } });
    answers.push(status);
    const result = await postMessage(url, message, { allowedHosts: [host, target.host] });
    expect(result).toMatchObject({ status, failure: 'redirect' });
    expect(target.received).toEqual([]);
  });

  it('says how long the receiver asks to wait', async () => {
    const { url, host, answers } = await receiver({ headers: { 'retry-after': '120' } });
    answers.push(429);
    expect(await postMessage(url, message, { allowedHosts: [host] })).toMatchObject({
      failure: 'http-status',
      retryAfterMs: 120_000,
    });
  });

  it('is given up when no answer comes in time', async () => {
    const { url, host, answers } = await receiver();
    answers.push('hang');
    const result = await postMessage(url, message, { allowedHosts: [host], timeoutMs: 200 });
    expect(result).toMatchObject({ status: null, failure: 'timeout' });
    expect(result.durationMs).toBeLessThan(5_000);
  });

  it('is taken although its answer has no end', async () => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n');
        const timer = setInterval(() => socket.write('x'.repeat(4_096)), 1);
        socket.once('close', () => clearInterval(timer));
      });
    });
    const port = await serverPort(server);
    opened.push(() => new Promise((resolve) => server.close(() => resolve())));
    const result = await postMessage(`http://127.0.0.1:${port}/`, message, {
      allowedHosts: [`127.0.0.1:${port}`],
    });
    expect(result).toMatchObject({ status: 200, failure: null });
    expect(result.durationMs).toBeLessThan(5_000);
  });

  describe('holds nobody longer than its time, and leaves no connection,', () => {
    it.each<[string, (socket: Socket) => void, Partial<PostResult>]>([
      ['when nothing is said', () => undefined, { status: null, failure: 'timeout' }],
      [
        'when the headers come byte by byte',
        (socket) => drip(socket, `HTTP/1.1 200 OK\r\nx-long: ${'x'.repeat(10_000)}`),
        { status: null, failure: 'timeout' },
      ],
      [
        'when nothing but interim answers come',
        (socket) => drip(socket, 'HTTP/1.1 102 Processing\r\n\r\n'.repeat(1_000)),
        { status: null, failure: 'timeout' },
      ],
      [
        'when the body comes byte by byte',
        (socket) => {
          socket.write('HTTP/1.1 200 OK\r\n\r\n');
          drip(socket, 'x'.repeat(10_000));
        },
        { status: 200, failure: null },
      ],
      [
        'when the protocol is changed',
        (socket) =>
          socket.write(
            'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n',
          ),
        { status: 101, failure: 'http-status' },
      ],
      ['when the connection ends without a word', (socket) => socket.end(), { failure: 'connection' }],
    ])('%s', async (_when, answer, expected) => {
      const sockets: Socket[] = [];
      const server = createTcpServer((socket) => {
        sockets.push(socket);
        socket.on('error', () => undefined);
        socket.once('data', () => answer(socket));
      });
      const port = await serverPort(server);
      const closed = () => new Promise<void>((resolve) => server.close(() => resolve()));
      const begunMs = performance.now();
      const result = await postMessage(`http://127.0.0.1:${port}/`, message, {
        allowedHosts: [`127.0.0.1:${port}`],
        timeoutMs: 300,
      });
      expect(result).toMatchObject(expected);
      expect(performance.now() - begunMs).toBeLessThan(3_000);
      // Resolves when the last connection has gone.
      await closed();
      expect(sockets).toHaveLength(1);
    });

    it('when the name server does not answer', async () => {
      const lookup: LookupFunction = () => undefined;
      const result = await postMessage('https://hooks.example.com/', message, {
        allowedHosts: [],
        lookup,
        timeoutMs: 100,
      });
      expect(result).toMatchObject({ status: null, failure: 'timeout' });
    });

    it('when somebody ends it', async () => {
      const { url, host, answers, received } = await receiver();
      answers.push('hang');
      const ended = new AbortController();
      const posted = postMessage(url, message, { allowedHosts: [host], signal: ended.signal });
      await expect.poll(() => received.length).toBe(1);
      ended.abort();
      expect(await posted).toMatchObject({ status: null });
      const again = await postMessage(url, message, { allowedHosts: [host], signal: ended.signal });
      expect([again.status, received.length]).toEqual([null, 1]);
    });
  });

  // Node cannot sign certificates itself.
  it.skipIf(spawnSync('openssl', ['version']).status !== 0)(
    'is not sent to who shows a certificate that nobody trusts, also not to an allowed host',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'agentrun-certificate-'));
      const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
      const options =
        '-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost';
      const made = spawnSync('openssl', ['req', ...options.split(' '), '-keyout', keyFile, '-out', certFile]);
      expect(made.status, String(made.stderr)).toBe(0);
      const [key, cert] = [readFileSync(keyFile), readFileSync(certFile)];
      rmSync(folder, { recursive: true });
      let requests = 0;
      const server = createHttpsServer({ key, cert }, (_request, response) => {
        requests += 1;
        response.end();
      });
      const port = await serverPort(server);
      opened.push(() => new Promise((resolve) => server.close(() => resolve())));
      expect(
        await postMessage(`https://localhost:${port}/`, message, { allowedHosts: [`localhost:${port}`] }),
      ).toMatchObject({ status: null, failure: 'tls' });
      expect(requests).toBe(0);
    },
  );

  it('that nobody takes fails by its reason', async () => {
    const { url, host } = await receiver();
    const secure = url.replace('http:', 'https:');
    // What answers there speaks no TLS.
    expect(await postMessage(secure, message, { allowedHosts: [host] })).toMatchObject({ failure: 'tls' });
    for (const stop of opened.splice(0)) await stop();
    expect(await postMessage(url, message, { allowedHosts: [host] })).toMatchObject({
      failure: 'connection',
    });
    const lookup: LookupFunction = (_name, _options, callback) =>
      callback(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }), '');
    expect(
      await postMessage('https://hooks.example.com/', message, { allowedHosts: [], lookup }),
    ).toMatchObject({ failure: 'dns' });
  });
});

describe('an address that is not public', () => {
  it('is refused when it stands in the URL, whatever the URL was when the webhook was made', async () => {
    const { url, received } = await receiver();
    expect(await postMessage(url.replace('http:', 'https:'), message, { allowedHosts: [] })).toMatchObject({
      failure: 'address-refused',
    });
    expect(await postMessage(url, message, { allowedHosts: [] })).toMatchObject({ failure: 'url-refused' });
    expect(received).toEqual([]);
  });

  it.each([
    [['127.0.0.1']],
    [['8.8.8.8', '10.0.0.1']],
    [['2606:4700:4700::1111', '::1']],
    [['::ffff:127.0.0.1']],
    [[]],
  ])('is refused when a name leads to it, also among public ones: %j', async (addresses) => {
    const { url, received } = await receiver();
    const { lookup } = answering(addresses);
    const named = url.replace('http://127.0.0.1', 'https://hooks.example.com');
    expect(await postMessage(named, message, { allowedHosts: [], lookup })).toMatchObject({
      status: null,
      failure: 'address-refused',
    });
    expect(received).toEqual([]);
  });

  it('is not reached by a name that answers otherwise at the second question: there is one, and what it answers is connected to', async () => {
    let connections = 0;
    const server = createTcpServer((socket) => {
      connections += 1;
      socket.destroy();
    });
    const port = await serverPort(server);
    opened.push(() => new Promise((resolve) => server.close(() => resolve())));
    // Public by its form, and given to nobody (IANA keeps 2d00::/8).
    const { lookup, asked } = answering(['2d00::1'], ['127.0.0.1']);
    const target = `https://rebinding.example.com:${port}/`;
    const first = await postMessage(target, message, { allowedHosts: [], lookup, timeoutMs: 500 });
    expect(['timeout', 'connection']).toContain(first.failure);
    expect(asked).toEqual(['rebinding.example.com']);
    const second = await postMessage(target, message, { allowedHosts: [], lookup });
    expect(second.failure).toBe('address-refused');
    expect(connections).toBe(0);
  });

  it('is the only thing that an allowed name is excused from', async () => {
    const { host, received } = await receiver();
    const { lookup } = answering(['127.0.0.1']);
    const port = host.split(':')[1];
    const result = await postMessage(`http://receiver:${port}/`, message, {
      allowedHosts: [`receiver:${port}`],
      lookup,
    });
    expect(result).toMatchObject({ status: 200, failure: null });
    expect(received).toHaveLength(1);
  });
});
