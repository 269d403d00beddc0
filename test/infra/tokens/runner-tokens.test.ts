import { createHmac } from 'node:crypto';
import { decodeProtectedHeader } from 'jose';
import { describe, expect, it } from 'vitest';
import type { AgentRunError } from '../../../contract/errors.js';
import { RunnerTokens } from '../../../infra/tokens/runner-tokens.js';
import { newKeySet } from '../../support/api.js';

const runClaims = { runnerId: 'rnr_1', runId: 'run_1', epoch: 2, jobName: 'job-1' };

async function refusalOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'accepted',
    (error: AgentRunError) => error.details?.code,
  );
}

describe('runner tokens', () => {
  it('carry their claims and are good for their audience only', async () => {
    const tokens = await RunnerTokens.fromJwks(newKeySet('k1'));
    const run = await tokens.mintRun(runClaims);
    expect(await tokens.verifyRun(run.token)).toEqual({ sub: 'rnr_1', run: 'run_1', epoch: 2, job: 'job-1' });
    expect(decodeProtectedHeader(run.token)).toMatchObject({ alg: 'ES256', kid: 'k1' });
    expect(Date.parse(run.expiresAt) - Date.now()).toBeGreaterThan(14 * 60_000);
    expect(await refusalOf(tokens.verifyRunner(run.token))).toBe('wrong-audience');
    const launch = await tokens.mintLaunch({ run: 'run_1', epoch: 1, job: 'job-1', jobId: 'job_x' }, 60_000);
    expect(await refusalOf(tokens.verifyRun(launch.token))).toBe('wrong-audience');
    expect(await tokens.verifyLaunch(launch.token)).toEqual({
      run: 'run_1',
      epoch: 1,
      job: 'job-1',
      jobId: 'job_x',
    });
  });

  it('expire, and say which kind of wrong they are', async () => {
    const tokens = await RunnerTokens.fromJwks(newKeySet('k1'));
    const claims = { runner: 'rnr_1', job: 'job-1', session: 's1' };
    const old = await tokens.mintRunner(claims, Date.now() - 60_000);
    expect(await refusalOf(tokens.verifyRunner(old.token))).toBe('expired');
    const strange = await (await RunnerTokens.fromJwks(newKeySet('k1'))).mintRunner(
      claims,
      Date.now() + 60_000,
    );
    expect(await refusalOf(tokens.verifyRunner(strange.token))).toBe('bad-signature');
    const unknownKey = await (await RunnerTokens.fromJwks(newKeySet('k9'))).mintRunner(
      claims,
      Date.now() + 60_000,
    );
    expect(await refusalOf(tokens.verifyRunner(unknownKey.token))).toBe('bad-signature');
    expect(await refusalOf(tokens.verifyRunner('nonsense'))).toBe('malformed');
  });

  it('without a signature, or signed with the public key as a secret, are refused', async () => {
    const keys = newKeySet('k1');
    const tokens = await RunnerTokens.fromJwks(keys);
    const good = await tokens.mintRun(runClaims);
    const [, payload = ''] = good.token.split('.');
    const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const none = `${encode({ alg: 'none', kid: 'k1' })}.${payload}.`;
    const head = `${encode({ alg: 'HS256', kid: 'k1' })}.${payload}`;
    const hmac = `${head}.${createHmac('sha256', String(keys.keys[0]?.x)).update(head).digest('base64url')}`;
    for (const token of [none, hmac]) expect(await refusalOf(tokens.verifyRun(token))).toBe('malformed');
  });

  it('outlive a rotation of the key: the old one still verifies until it is removed', async () => {
    const [before, after] = [newKeySet('k1'), newKeySet('k2')];
    const token = await (await RunnerTokens.fromJwks(before)).mintRun(runClaims);
    const rotated = await RunnerTokens.fromJwks({ keys: [...after.keys, ...before.keys] });
    expect((await rotated.verifyRun(token.token)).run).toBe('run_1');
    expect(decodeProtectedHeader((await rotated.mintRun(runClaims)).token).kid).toBe('k2');
    expect(await refusalOf((await RunnerTokens.fromJwks(after)).verifyRun(token.token))).toBe(
      'bad-signature',
    );
  });

  it('need a proper key set, whose content is never in the error', async () => {
    const wrong = RunnerTokens.fromJwks({ keys: [{ kty: 'oct', kid: 'k', k: 'very-secret' }] });
    await expect(wrong).rejects.toThrow(/^expected a JSON Web Key Set with P-256 keys, each with a kid$/);
  });
});
