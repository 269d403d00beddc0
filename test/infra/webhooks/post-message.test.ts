import type { LookupFunction } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { postMessage } from '../../../infra/webhooks/post-message.js';
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
      allowedHosts: ['127.0.0.1'],
    });
    expect(result).toMatchObject({ status: 200, failure: null });
    expect(result.durationMs).toBeLessThan(5_000);
  });

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
