import { createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { decodeProtectedHeader } from 'jose';
import { describe, expect, it } from 'vitest';
import { AgentRunError } from '../../../contract/errors.js';
import { RunnerTokens } from '../../../infra/tokens/runner-tokens.js';
import { newKeySet } from '../../support/api.js';

const runClaims = { runnerId: 'rnr_1', runId: 'run_1', epoch: 2, jobName: 'job-1' };
const nowSeconds = () => Math.floor(Date.now() / 1_000);
const payload = () => ({
  aud: 'runner-run',
  sub: 'rnr_1',
  run: 'run_1',
  epoch: 2,
  job: 'job-1',
  exp: nowSeconds() + 60,
});
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

async function refusal(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return 'accepted';
  } catch (error) {
    return error instanceof AgentRunError ? [error.httpStatus, error.details?.code] : error;
  }
}

/** A key set with its private key, to sign what no proper signer would. */
function forger() {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = privateKey.export({ format: 'jwk' });
  const keys = { keys: [{ ...jwk, kid: 'k1' }] };
  const token = (claims: unknown, header: Record<string, unknown> = { alg: 'ES256', kid: 'k1' }) => {
    const signed = `${encode(header)}.${encode(claims)}`;
    const signature = sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' });
    return `${signed}.${signature.toString('base64url')}`;
  };
  const publicPem = createPublicKey(privateKey).export({ type: 'spki', format: 'pem' });
  return { keys, token, publicPem, publicX: String(jwk.x) };
}

describe('a rotation of the key', () => {
  it('goes by steps, at each of which the tokens in use are good', async () => {
    const [before, after] = [newKeySet('k1'), newKeySet('k2')];
    const [only, expanded, switched, contracted] = await Promise.all(
      [
        before,
        { keys: [...before.keys, ...after.keys] },
        { keys: [...after.keys, ...before.keys] },
        after,
      ].map((keys) => RunnerTokens.fromJwks(keys)),
    );
    if (only === undefined || expanded === undefined || switched === undefined || contracted === undefined)
      throw new Error('four key sets');
    const old = (await only.mintRun(runClaims)).token;
    const fresh = (await switched.mintRun(runClaims)).token;
    expect([old, fresh].map((token) => decodeProtectedHeader(token).kid)).toEqual(['k1', 'k2']);
    expect(decodeProtectedHeader((await expanded.mintRun(runClaims)).token).kid).toBe('k1');
    const verdicts = async (tokens: RunnerTokens) =>
      Promise.all([old, fresh].map((token) => refusal(tokens.verifyRun(token))));
    const unknown = [401, 'bad-signature'];
    expect(await verdicts(only)).toEqual(['accepted', unknown]);
    expect(await verdicts(expanded)).toEqual(['accepted', 'accepted']);
    expect(await verdicts(switched)).toEqual(['accepted', 'accepted']);
    expect(await verdicts(contracted)).toEqual([unknown, 'accepted']);
  });

  it('needs names: a token without a kid fits no key, and two keys have two names', async () => {
    const { keys, token } = forger();
    const tokens = await RunnerTokens.fromJwks(keys);
    expect(await refusal(tokens.verifyRun(token(payload())))).toBe('accepted');
    expect(await refusal(tokens.verifyRun(token(payload(), { alg: 'ES256' })))).toEqual([
      401,
      'bad-signature',
    ]);
    const twins = { keys: [...newKeySet('k1').keys, ...newKeySet('k1').keys] };
    await expect(RunnerTokens.fromJwks(twins)).rejects.toThrow('differ in their kid');
  });

  it('is not helped by a key of another name with the right signature', async () => {
    const { keys, token } = forger();
    const both = await RunnerTokens.fromJwks({ keys: [...keys.keys, ...newKeySet('k2').keys] });
    expect(await refusal(both.verifyRun(token(payload(), { alg: 'ES256', kid: 'k2' })))).toEqual([
      401,
      'bad-signature',
    ]);
  });
});

describe('a token that was made up', () => {
  const { keys, token, publicPem, publicX } = forger();
  const hmac = (secret: string) => {
    const signed = `${encode({ alg: 'HS256', kid: 'k1' })}.${encode(payload())}`;
    return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
  };
  const { exp: _exp, ...endless } = payload();
  const { sub: _sub, ...nobody } = payload();

  it.each<[string, string, string]>([
    ['without a signature', `${encode({ alg: 'none', kid: 'k1' })}.${encode(payload())}.`, 'malformed'],
    ['of another algorithm with the public key as secret (PEM)', hmac(String(publicPem)), 'malformed'],
    ['of another algorithm with the public key as secret (JWK)', hmac(publicX), 'malformed'],
    ['without an end', token(endless), 'malformed'],
    ['without a subject', token(nobody), 'malformed'],
    ['with an epoch that is a text', token({ ...payload(), epoch: '2' }), 'malformed'],
    ['with an epoch that is a fraction', token({ ...payload(), epoch: 2.5 }), 'malformed'],
    ['with a run that is a number', token({ ...payload(), run: 1 }), 'malformed'],
    ['without a run', token({ ...payload(), run: undefined }), 'malformed'],
    ['with an end that is a text', token({ ...payload(), exp: 'never' }), 'malformed'],
    ['for nobody', token({ ...payload(), aud: undefined }), 'wrong-audience'],
    ['for another audience', token({ ...payload(), aud: 'runner' }), 'wrong-audience'],
    ['that begins later', token({ ...payload(), nbf: nowSeconds() + 60 }), 'malformed'],
    ['that has ended', token({ ...payload(), exp: nowSeconds() - 20 }), 'expired'],
    [
      'whose claims were changed',
      token(payload()).replace(/\.[^.]+\./, `.${encode({ ...payload(), epoch: 3 })}.`),
      'bad-signature',
    ],
    ['of three parts of nothing', '..', 'malformed'],
    ['of JSON that is none', 'e30.e.e', 'malformed'],
  ])('%s is 401', async (_name, made, code) => {
    const tokens = await RunnerTokens.fromJwks(keys);
    expect(await refusal(tokens.verifyRun(made))).toEqual([401, code]);
  });

  it('may be a few seconds off, not more', async () => {
    const tokens = await RunnerTokens.fromJwks(keys);
    expect(await refusal(tokens.verifyRun(token({ ...payload(), exp: nowSeconds() - 2 })))).toBe('accepted');
    expect(await refusal(tokens.verifyRun(token({ ...payload(), exp: nowSeconds() - 8 })))).toEqual([
      401,
      'expired',
    ]);
    expect(await refusal(tokens.verifyRun(token({ ...payload(), nbf: nowSeconds() + 2 })))).toBe('accepted');
  });
});
