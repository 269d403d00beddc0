import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { readApiConfig } from '../../../infra/config/api-config.js';

const folder = mkdtempSync(join(tmpdir(), 'agentrun-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const token = 'agr_0123456789abcdef';
const needed = { DATABASE_URL: 'postgres://u:p@127.0.0.1/db', AGENTRUN_RUNNER_KEYS_FILE: 'keys.json' };

describe('the settings of the API', () => {
  it('have defaults for local use', () => {
    expect(readApiConfig(needed)).toMatchObject({
      host: '127.0.0.1',
      port: 8080,
      apiTokens: [],
      pathPrefix: '',
      temporal: { address: '127.0.0.1:7233', namespace: 'default' },
    });
  });

  it('take the prefix from the public URL', () => {
    const guarded = { ...needed, AGENTRUN_API_TOKEN: token };
    expect(readApiConfig({ ...guarded, AGENTRUN_MGR_URL: 'https://ci.example/agentrun/' }).pathPrefix).toBe(
      '/agentrun',
    );
    expect(
      readApiConfig({ ...guarded, AGENTRUN_MGR_URL: 'https://ci.example/a', AGENTRUN_PATH_PREFIX: '/' })
        .pathPrefix,
    ).toBe('');
  });

  it('refuse to serve others without a token', () => {
    expect(() => readApiConfig({ ...needed, AGENTRUN_API_HOST: '0.0.0.0' })).toThrow(
      /AGENTRUN_API_TOKEN: is not set/,
    );
    const { apiTokens } = readApiConfig({
      ...needed,
      AGENTRUN_API_HOST: '0.0.0.0',
      AGENTRUN_API_TOKEN: token,
    });
    expect(apiTokens).toEqual([{ name: 'default', token, scopes: ['admin'], tenantId: undefined }]);
  });

  it.each([
    ['AGENTRUN_API_HOST', '0.0.0.0'],
    ['AGENTRUN_API_HOST', '127.0.0.1.example.com'],
    ['AGENTRUN_MGR_URL', 'https://agents.example.com'],
    ['AGENTRUN_MGR_URL', 'http://127.0.0.1.example.com'],
    ['AGENTRUN_TRUSTED_PROXIES', '1'],
  ])('refuse %s %s without a token: others could reach what nobody guards', (variable, value) => {
    const exposed = { ...needed, [variable]: value };
    expect(() => readApiConfig(exposed)).toThrow(
      new RegExp(`AGENTRUN_API_TOKEN: is not set, and .*${variable}`),
    );
    expect(readApiConfig({ ...exposed, AGENTRUN_API_TOKEN: token }).apiTokens).toHaveLength(1);
  });

  it.each(['http://127.0.0.1:8080', 'http://localhost:8080/agentrun', 'http://[::1]:8080'])(
    'take %s as the public URL without a token',
    (url) => {
      expect(readApiConfig({ ...needed, AGENTRUN_MGR_URL: url }).publicUrl).toBe(url);
    },
  );

  it.each(['x', 'agr_0123456789a', 'agr_0123456789 abcdef', 'agr_0123456789äbcdef', 'x'.repeat(1_001)])(
    'refuse the token %j, given directly or in a file, and do not show it',
    (wrong) => {
      const file = join(folder, 'token');
      writeFileSync(file, wrong);
      for (const [variable, value] of [
        ['AGENTRUN_API_TOKEN', wrong],
        ['AGENTRUN_API_TOKEN_FILE', file],
      ] as const) {
        const read = () => readApiConfig({ ...needed, [variable]: value });
        expect(read).toThrow(new RegExp(`${variable}: expected at least 16 characters`));
        if (wrong.length > 1) expect(read).not.toThrow(wrong);
      }
    },
  );

  it('count a file of tokens and an issuer as asking for a token', () => {
    const outside = { ...needed, AGENTRUN_API_HOST: '0.0.0.0' };
    const issuer = { AGENTRUN_OIDC_ISSUER: 'https://id.example/', AGENTRUN_OIDC_AUDIENCE: 'agentrun' };
    expect(readApiConfig({ ...outside, AGENTRUN_API_TOKENS_FILE: '/etc/tokens.json' }).apiTokensFile).toBe(
      '/etc/tokens.json',
    );
    // The issuer is compared to the letter: its slash stays.
    expect(readApiConfig({ ...outside, ...issuer }).oidc).toEqual({
      issuer: 'https://id.example/',
      audience: 'agentrun',
      scopeClaim: 'scope',
      tenantClaim: undefined,
      tokenType: undefined,
    });
    expect(() => readApiConfig({ ...outside, AGENTRUN_OIDC_ISSUER: 'https://id.example' })).toThrow(
      /AGENTRUN_OIDC_AUDIENCE: is not set/,
    );
    for (const wrong of ['http://id.example', 'ftp://id.example', 'id.example', 'https://u:p@id.example'])
      expect(() => readApiConfig({ ...needed, ...issuer, AGENTRUN_OIDC_ISSUER: wrong })).toThrow(
        /AGENTRUN_OIDC_ISSUER/,
      );
  });

  it('name every wrong variable, not its value', () => {
    const read = () =>
      readApiConfig({
        AGENTRUN_API_PORT: 'eighty',
        TEMPORAL_ADDRESS: 'nowhere',
        DATABASE_URL: 'mysql://u:secret@h',
      });
    expect(read).toThrow(/AGENTRUN_API_PORT: expected[\s\S]*|TEMPORAL_ADDRESS/);
    expect(read).toThrow(/AGENTRUN_RUNNER_KEYS_FILE: is not set/);
    expect(read).not.toThrow(/secret|eighty/);
  });
});
