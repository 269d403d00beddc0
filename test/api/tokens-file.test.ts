import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ApiTokens } from '../../api/auth-tokens.js';
import { readTokensFile } from '../../infra/config/tokens-file.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { adminToken, startApi, type TestApi } from '../support/api.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';

const folder = mkdtempSync(join(tmpdir(), 'agentrun-tokens-'));
const path = join(folder, 'tokens.json');
const first = 'agr_first_0123456789';
const second = 'agr_second_0123456789';
const hashed = 'agr_hashed_0123456789';
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
const entry = (name: string, more: object) => ({ name, scopes: ['read'], ...more });
const write = (content: unknown) =>
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));

let postgres: TestPostgres;
let api: TestApi;
let lines = '';
const logger = createLogger({
  name: 'test',
  destination: new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines += chunk.toString();
      done();
    },
  }),
});
beforeAll(async () => {
  postgres = await startPostgres();
  write([entry('first', { token: first }), entry('hashed', { tokenSha256: sha256(hashed).toUpperCase() })]);
  api = await startApi(await postgres.newDatabase(), { tokensFile: path, logger });
});
afterAll(async () => {
  await api.stop();
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
});

const status = async (token: string) => (await api.call('GET', '/api/v1/sessions/none', { token })).status;

describe('the tokens file', () => {
  it('lets in by token and by digest; the digest itself is no token', async () => {
    expect([await status(first), await status(hashed), await status(sha256(hashed))]).toEqual([
      404, 404, 401,
    ]);
  });

  it('is read again when it changes: new tokens count, removed ones do not, others are untouched', async () => {
    write([entry('second', { token: second })]);
    await vi.waitFor(async () => expect(await status(second)).toBe(404), { timeout: 10_000 });
    expect([await status(first), await status(hashed), await status(adminToken)]).toEqual([401, 401, 404]);
  });

  it('that is wrong changes nothing, and the log says so without a token', async () => {
    write([entry('third', { token: 'agr_third_0123456789', scope: 'read' })]);
    await vi.waitFor(
      async () => {
        expect(await status(second)).toBe(404);
        expect(lines).toContain('the tokens of before still count');
      },
      { timeout: 10_000 },
    );
    for (const token of [first, second, 'agr_third_0123456789']) expect(lines).not.toContain(token);
  });

  it('that is emptied lets nobody in by it, and does not open the API', async () => {
    write([]);
    await vi.waitFor(async () => expect(await status(second)).toBe(401), { timeout: 10_000 });
    expect((await api.call('GET', '/api/v1/sessions/none', { token: null })).status).toBe(401);
    const none = new ApiTokens({ fixed: [], path, logger });
    expect(none.isUnset).toBe(false);
  });

  it('that is removed revokes its tokens, until it is back', async () => {
    write([entry('second', { token: second })]);
    await vi.waitFor(async () => expect(await status(second)).toBe(404), { timeout: 10_000 });
    rmSync(path);
    await vi.waitFor(async () => expect(await status(second)).toBe(401), { timeout: 10_000 });
    expect(await status(adminToken)).toBe(404);
    write([entry('second', { token: second })]);
    await vi.waitFor(async () => expect(await status(second)).toBe(404), { timeout: 10_000 });
  });

  it.each<[string, unknown, RegExp]>([
    [
      'of one name',
      [entry('a', { token: first }), entry('a', { token: second })],
      /two tokens of the name a/,
    ],
    ['of one token', [entry('a', { token: first }), entry('b', { tokenSha256: sha256(first) })], /a and b/],
    ['without a token', [entry('a', {})], /0: expected token or tokenSha256/],
    ['with both', [entry('a', { token: first, tokenSha256: sha256(first) })], /0: expected token or/],
    ['with a short one', [entry('a', { token: 'short' })], /0\.token: expected at least 16/],
    ['with no digest', [entry('a', { tokenSha256: 'zz' })], /0\.tokenSha256: expected the 64 hex/],
    ['in no JSON', `[{"token": "${first}"`, /cannot be read as JSON/],
  ])('%s refuses the start, names the entry and not the token', (_name, content, message) => {
    write(content);
    const start = () => new ApiTokens({ fixed: [], path, logger });
    expect(start).toThrow(message);
    expect(start).not.toThrow(new RegExp(`${first}|${sha256(first)}`));
  });

  it('may not repeat the token of the settings', () => {
    write([entry('a', { token: first })]);
    const fixed = [{ name: 'default', token: first, scopes: ['admin' as const], tenantId: undefined }];
    expect(() => new ApiTokens({ fixed, path, logger })).toThrow(/default and a have the same token/);
    expect(readTokensFile(path)).toHaveLength(1);
  });
});
