import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { adminToken } from '../support/api.js';
import { useApi } from '../support/use-api.js';

const { api } = await useApi();

/** The status of a GET with these header bytes, which `fetch` would refuse to send. */
function rawStatus(...headers: Buffer[]): Promise<number> {
  const { hostname, port } = new URL(api.url);
  const lines = headers.map((header) => Buffer.concat([header, Buffer.from('\r\n')]));
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    let text = '';
    socket.setTimeout(5_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0)));
    socket.write(
      Buffer.concat([
        Buffer.from(`GET /api/v1/sessions/none HTTP/1.1\r\nhost: ${hostname}\r\nconnection: close\r\n`),
        ...lines,
        Buffer.from('\r\n'),
      ]),
    );
  });
}
const header = (value: string) => Buffer.from(`authorization: ${value}`, 'latin1');
const found = 404;
const jwt = (claims: object) =>
  [{ alg: 'none' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
const noneToken = `${jwt({ sub: 'admin', scope: 'agentrun:admin' })}.`;
const ourAudience = `${jwt({ sub: 'x', aud: 'runner-run', run: 'run_x', epoch: 1, job: 'j' })}.`;

// requirements.md A.2.d 34.
describe('an API token', () => {
  const first = adminToken.replace(/^./, 'X');
  const last = adminToken.replace(/.$/, 'X');
  it.each<[string, string, number]>([
    ['that is right', `Bearer ${adminToken}`, found],
    ['with another case of the scheme', `bEARER ${adminToken}`, found],
    ['with blanks around it', `Bearer   ${adminToken}  `, found],
    ['with another first byte', `Bearer ${first}`, 401],
    ['with another last byte', `Bearer ${last}`, 401],
    ['that is a prefix', `Bearer ${adminToken.slice(0, -1)}`, 401],
    ['that is longer', `Bearer ${adminToken}x`, 401],
    ['that is empty', 'Bearer ', 401],
    ['without a scheme', adminToken, 401],
    ['of another scheme', `Basic ${adminToken}`, 401],
    ['in two words', `Bearer ${adminToken} x`, 401],
    ['of letters outside ASCII', 'Bearer gr\u00fc\u00dfe', 401],
    ['of bytes that are no UTF-8', 'Bearer \u00ff\u00fe\u0080', 401],
    ['of another digest length', `Bearer ${'a'.repeat(64)}`, 401],
    ['with a tab in front', `Bearer\t${adminToken}`, 401],
    ['joined to the scheme', `Bearer${adminToken}`, 401],
    ['that is a JSON Web Token of nobody', `Bearer ${noneToken}`, 401],
    ['whose JSON Web Token has an audience of ours', `Bearer ${ourAudience}`, 401],
  ])('%s', async (_name, value, status) => {
    expect(await rawStatus(header(value))).toBe(status);
  });

  it('that is missing is 401, as are two of them, equal or not', async () => {
    expect(await rawStatus()).toBe(401);
    expect(await rawStatus(header(`Bearer ${adminToken}`), header(`Bearer ${adminToken}`))).toBe(401);
    expect(await rawStatus(header(`Bearer ${adminToken}`), header('Bearer other'))).toBe(401);
    expect(await rawStatus(header('Bearer other'), header(`Bearer ${adminToken}`))).toBe(401);
  });

  it.each([
    ['blanks', `Bearer${' '.repeat(14_000)}x y`],
    ['letters', `Bearer ${'a'.repeat(14_000)} x`],
    ['dots', `Bearer ${'.'.repeat(14_000)}`],
  ])('is read in linear time, also of 14,000 %s', async (_name, value) => {
    const startedAt = performance.now();
    expect(await rawStatus(header(value))).toBe(401);
    expect(performance.now() - startedAt).toBeLessThan(500);
  });

  it('in the URL is not looked at', async () => {
    const answer = await api.call(
      'GET',
      `/api/v1/sessions/none?access_token=${adminToken}&token=${adminToken}`,
      {
        token: null,
      },
    );
    expect(answer.status).toBe(401);
    expect(answer.text).not.toContain(adminToken);
  });
});
