import { describe, expect, it } from 'vitest';
import { errorEnvelopeSchema } from '../../contract/envelope.js';
import { type RawAnswer, sendRaw } from '../support/raw-http.js';
import { useApi } from '../support/use-api.js';

const { api } = await useApi({ requestTimeoutMs: 500 });

const host = 'Host: localhost\r\n';
const authorized = `${host}Authorization: Bearer agr_admin_0123456789abcdef\r\n`;

function expectFailure(answer: RawAnswer, status: number, failureKind: string): void {
  expect([answer.status, answer.headers.get('content-type')]).toEqual([
    status,
    'application/json; charset=utf-8',
  ]);
  const envelope = errorEnvelopeSchema.parse(JSON.parse(answer.body));
  expect(envelope.failureKind).toBe(failureKind);
  expect(envelope.traceId).toBe(answer.headers.get('x-trace-id'));
  expect(answer.headers.get('content-length')).toBe(String(Buffer.byteLength(answer.body)));
  expect(answer.headers.get('connection')).toBe('close');
}

describe('a request that is no HTTP', () => {
  const broken: [string, string, number, string][] = [
    ['no HTTP at all', 'hello\r\n\r\n', 400, 'schema-invalid'],
    ['an unknown version', `GET /health HTTP/9.9\r\n${host}\r\n`, 400, 'schema-invalid'],
    ['a header without a name', `GET /health HTTP/1.1\r\n${host}: x\r\n\r\n`, 400, 'schema-invalid'],
    ['U+0000 in a header', `GET /health HTTP/1.1\r\n${host}x-a: b\0c\r\n\r\n`, 400, 'schema-invalid'],
    [
      'headers that are too long',
      `GET /health HTTP/1.1\r\n${host}x-a: ${'a'.repeat(20_000)}\r\n\r\n`,
      431,
      'headers-too-large',
    ],
    [
      'a URL that is too long',
      `GET /health?${'a'.repeat(20_000)} HTTP/1.1\r\n${host}\r\n`,
      431,
      'headers-too-large',
    ],
    [
      'a body of two lengths',
      `POST /api/v1/runs HTTP/1.1\r\n${authorized}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`,
      400,
      'schema-invalid',
    ],
    [
      'a body with a length and chunks',
      `POST /api/v1/runs HTTP/1.1\r\n${authorized}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}`,
      400,
      'schema-invalid',
    ],
    [
      'a body in an encoding that Node does not read',
      `POST /api/v1/runs HTTP/1.1\r\n${authorized}transfer-encoding: rot13\r\n\r\n{}`,
      400,
      'schema-invalid',
    ],
    [
      'a chunk without a length',
      `POST /api/v1/runs HTTP/1.1\r\n${authorized}content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n`,
      400,
      'schema-invalid',
    ],
  ];
  it.each(broken)('%s is answered in the envelope, and the connection closed', async (...row) => {
    const [, text, status, failureKind] = row;
    expectFailure(await sendRaw(api.url, [text]), status, failureKind);
  });

  it('without Host is 400, with an expectation that nobody knows it is served', async () => {
    const noHost = await sendRaw(api.url, ['GET /health HTTP/1.1\r\nconnection: close\r\n\r\n']);
    expectFailure(noHost, 400, 'schema-invalid');
    const expecting = await sendRaw(api.url, [
      `GET /health HTTP/1.1\r\n${host}expect: wonders\r\nconnection: close\r\n\r\n`,
    ]);
    expect(expecting.status).toBe(200);
  });

  it('does not end other connections: the next request is answered', async () => {
    await sendRaw(api.url, ['\0\0\0\0\r\n\r\n']);
    expect((await api.call('GET', '/health')).status).toBe(200);
  });
});

describe('a request that does not arrive', () => {
  it('is cut off in its headers', async () => {
    const trickle = Array.from('GET /health HTTP/1.1\r\nx-slow: aaaaaaaaaaaaaaaa');
    expectFailure(await sendRaw(api.url, trickle, 50), 408, 'request-timeout');
  });

  it('is cut off in its body, and nothing of it is done', async () => {
    const sessionId = 'trickling';
    const body = JSON.stringify({ sessionId, tenantId: 'acme', projectId: 'web', metadata: { a: 'b' } });
    const head = `POST /api/v1/sessions HTTP/1.1\r\n${authorized}content-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
    expectFailure(await sendRaw(api.url, [head, ...body.split('')], 50), 408, 'request-timeout');
    expect((await api.call('GET', `/api/v1/sessions/${sessionId}`)).status).toBe(404);
  });
});
