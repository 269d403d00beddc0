import { describe, expect, it } from 'vitest';
import { readApiConfig } from '../../../infra/config/api-config.js';

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
    expect(readApiConfig({ ...needed, AGENTRUN_MGR_URL: 'https://ci.example/agentrun/' }).pathPrefix).toBe(
      '/agentrun',
    );
    expect(
      readApiConfig({ ...needed, AGENTRUN_MGR_URL: 'https://ci.example/a', AGENTRUN_PATH_PREFIX: '/' })
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
      AGENTRUN_API_TOKEN: 'agr_x',
    });
    expect(apiTokens).toEqual([{ name: 'default', token: 'agr_x', scopes: ['admin'], tenantId: undefined }]);
  });

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
