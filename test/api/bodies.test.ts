import { describe, expect, it } from 'vitest';
import { adminToken } from '../support/api.js';
import { sendRaw } from '../support/raw-http.js';
import { newSessionId } from '../support/turns.js';
import { useApi } from '../support/use-api.js';

const { api } = await useApi();

const json = { 'content-type': 'application/json' };
const session = (more: Record<string, unknown> = {}) => ({
  tenantId: 'acme',
  projectId: 'web',
  sessionId: newSessionId(),
  ...more,
});
const create = (body: unknown, headers: Record<string, string> = {}) =>
  api.call('POST', '/api/v1/sessions', { body, headers });
const outcomeOf = (answer: { status: number; body: Record<string, unknown> }) => [
  answer.status,
  answer.body.failureKind ?? 'none',
];

/** A body whose length is not told before, in chunks of at most 64 KiB; the answer's status. */
async function createChunked(text: string): Promise<number> {
  const head = `POST /api/v1/sessions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ${adminToken}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n`;
  const chunks: string[] = [];
  for (let at = 0; at < text.length; at += 65_536) {
    const piece = text.slice(at, at + 65_536);
    chunks.push(`${piece.length.toString(16)}\r\n${piece}\r\n`);
  }
  return (await sendRaw(api.url, [head, ...chunks, '0\r\n\r\n'])).status;
}

describe('the media type of a body', () => {
  const types: [string, number][] = [
    ['application/json', 200],
    ['application/json; charset=utf-8', 200],
    ['Application/JSON;Charset="UTF-8"', 200],
    ['application/json; charset=utf8', 200],
    ['application/json; charset=us-ascii', 200],
    ['application/json; charset=iso-8859-1', 415],
    ['application/json, application/json', 415],
    ['application/jsonp', 415],
    ['application/merge-patch+json', 415],
    ['text/plain', 415],
    ['application/x-www-form-urlencoded', 415],
    ['multipart/form-data; boundary=x', 415],
    ['json', 415],
    [';', 415],
  ];
  it.each(types)('%s is %i', async (type, status) => {
    const answer = await create(session(), { 'content-type': type });
    expect(answer.status).toBe(status);
    if (status === 415) expect(answer.body.failureKind).toBe('unsupported-media-type');
  });

  it('must be given, but not for a body that is empty', async () => {
    const bytes = new TextEncoder().encode(JSON.stringify(session()));
    const bare = await fetch(`${api.url}/api/v1/sessions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${adminToken}` },
      body: bytes,
    });
    expect(bare.status).toBe(415);
    expect(outcomeOf(await api.call('POST', '/api/v1/sessions'))).toEqual([400, 'schema-invalid']);
  });

  it.each(['gzip', 'br', 'deflate', 'gzip, identity'])('with the encoding %s is 415', async (encoding) => {
    expect(outcomeOf(await create(session(), { 'content-encoding': encoding }))).toEqual([
      415,
      'unsupported-media-type',
    ]);
  });

  it('may say that it is not encoded', async () => {
    expect((await create(session(), { 'content-encoding': 'identity' })).status).toBe(200);
  });
});

describe('the size of a body', () => {
  const padded = (bytes: number) => {
    const empty = JSON.stringify(session({ metadata: { pad: '' } }));
    return empty.replace('"pad":""', `"pad":"${'x'.repeat(bytes - empty.length)}"`);
  };

  it('is at most 1 MiB', async () => {
    expect((await create(padded(1_048_576), json)).status).toBe(200);
    expect(outcomeOf(await create(padded(1_048_577), json))).toEqual([413, 'payload-too-large']);
  });

  it('counts when it is not told before', async () => {
    expect(await createChunked(padded(1_048_576))).toBe(200);
    expect(await createChunked(padded(1_048_577))).toBe(413);
    expect(await createChunked(padded(8_000_000))).toBe(413);
  });
});

describe('the text of a body', () => {
  const bytesOf = (text: string, wrong: readonly number[]) => {
    const [before = '', after = ''] = text.split('?');
    return Buffer.concat([Buffer.from(before), Buffer.from(wrong), Buffer.from(after)]);
  };
  const withText = JSON.stringify(session({ conversationId: '?' }));

  it.each([
    ['a lone continuation byte', [0x80]],
    ['a cut sequence', [0xe2, 0x82]],
    ['an overlong slash', [0xc0, 0xaf]],
    ['a surrogate', [0xed, 0xa0, 0x80]],
  ])('with %s is no UTF-8: 400, and nothing is stored', async (_name, wrong) => {
    const answer = await create(bytesOf(withText, wrong), json);
    expect(outcomeOf(answer)).toEqual([400, 'schema-invalid']);
    expect(answer.body.message).toBe('body: expected UTF-8 (received bytes that are no UTF-8)');
  });

  it.each([
    ['U+0000, raw', '"a\0b"'],
    ['U+0000, escaped', String.raw`"a\u0000b"`],
    ['half a pair, escaped', String.raw`"a\ud800b"`],
    ['the other half', String.raw`"\uDC00"`],
    ['a pair in the wrong order', String.raw`"\udc00\ud800"`],
  ])('with %s is 400', async (_name, text) => {
    const body = withText.replace('"?"', text);
    expect(outcomeOf(await create(body, json))).toEqual([400, 'schema-invalid']);
    const key = JSON.stringify(session({ metadata: { '?': 1 } })).replace('"?"', text);
    expect(outcomeOf(await create(key, json))).toEqual([400, 'schema-invalid']);
  });

  it.each([
    ['a whole pair', String.raw`\ud83d\ude00`, '😀'],
    ['an escaped backslash before u0000', String.raw`\\u0000`, String.raw`\u0000`],
    ['a mark of the byte order inside', '\uFEFFx', '\uFEFFx'],
  ])('with %s is stored as it is', async (_name, text, expected) => {
    const sessionId = newSessionId();
    const body = JSON.stringify(session({ sessionId, conversationId: '?' })).replace('?', text);
    expect((await create(body, json)).status).toBe(200);
    const stored = await api.call('GET', `/api/v1/sessions/${sessionId}`);
    expect(stored.body.data).toMatchObject({ conversationId: expected });
  });
});

describe('the shape of a body', () => {
  const nested = (levels: number) => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;
  const withMetadata = (metadata: string) =>
    JSON.stringify(session({ metadata: '?' })).replace('"?"', metadata);

  it('is at most 32 levels deep', async () => {
    expect((await create(withMetadata(nested(31)), json)).status).toBe(200);
    const tooDeep = await create(withMetadata(nested(32)), json);
    expect(outcomeOf(tooDeep)).toEqual([400, 'schema-invalid']);
    expect(tooDeep.body.message).toContain('32 levels');
    expect((await create('['.repeat(500_000), json)).status).toBe(400);
  });

  it.each(['__proto__', 'constructor', 'prototype', 'toString'])(
    'has no use for the field %s',
    async (key) => {
      const named = JSON.stringify(session()).replace('{', `{"${key}":{"scopes":["admin"]},`);
      const answer = await create(named, json);
      expect(outcomeOf(answer)).toEqual([400, 'schema-invalid']);
      expect(answer.body.message).toContain(key);
    },
  );

  it('keeps keys of open objects to themselves, __proto__ too', async () => {
    const open = withMetadata(
      '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}',
    );
    expect([200, 400]).toContain((await create(open, json)).status);
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
    expect((await create(session())).status).toBe(200);
  });
});
