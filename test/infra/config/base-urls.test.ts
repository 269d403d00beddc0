import { describe, expect, it } from 'vitest';
import { readApiConfig } from '../../../infra/config/api-config.js';
import {
  baseUrlProblem,
  internalUrlProblem,
  normalPathPrefix,
  resolveBase,
} from '../../../infra/config/base-urls.js';
import { ConfigurationError } from '../../../infra/config/read-env.js';
import { readWorkerConfig } from '../../../infra/config/worker-config.js';

const fallback = 'http://api:8000';
const needed = {
  DATABASE_URL: 'postgres://u:p@127.0.0.1/db',
  AGENTRUN_RUNNER_KEYS_FILE: 'keys.json',
  AGENTRUN_PROVIDER_BASE_URL: 'http://model',
  AGENTRUN_PROVIDER_KEY_FILE: 'key',
  AGENTRUN_MODEL: 'm',
};

function problemsOf(read: () => unknown) {
  try {
    read();
  } catch (error) {
    if (error instanceof ConfigurationError) return error;
    throw error;
  }
  throw new Error('nothing was wrong');
}

describe('the resolver', () => {
  it.each([
    // internal, public, base, where from
    ['http://api:8000', 'https://h/api', 'http://api:8000', 'INTERNAL'],
    [undefined, 'https://h/api', 'https://h/api', 'PUBLIC'],
    [undefined, undefined, fallback, 'INTERNAL'],
    ['', 'https://h/api', 'https://h/api', 'PUBLIC'],
    ['   ', undefined, fallback, 'INTERNAL'],
    ['   ', '  ', fallback, 'INTERNAL'],
    ['http://api:8000/', undefined, 'http://api:8000', 'INTERNAL'],
    ['http://api:8000///', undefined, 'http://api:8000', 'INTERNAL'],
    [' http://api:8000 ', undefined, 'http://api:8000', 'INTERNAL'],
    [undefined, 'https://h/api/', 'https://h/api', 'PUBLIC'],
  ])('internal %j, public %j: %s', (internal, publicUrl, url, variable) => {
    const resolved = resolveBase({
      internal: { variable: 'INTERNAL', value: internal },
      public: { variable: 'PUBLIC', value: publicUrl },
      fallback,
    });
    expect(resolved).toEqual({ url, variable });
  });

  it('is what API and worker use', () => {
    const env = {
      ...needed,
      AGENTRUN_API_TOKEN: 'agr_0123456789abcdef',
      AGENTRUN_MGR_URL: ' https://h/api/ ',
      AGENTRUN_INTERNAL_MGR_URL: ' http://api:8000// ',
    };
    const internal = { url: 'http://api:8000', variable: 'AGENTRUN_INTERNAL_MGR_URL' };
    expect(readWorkerConfig(env).manager).toEqual(internal);
    expect(readApiConfig(env)).toMatchObject({ internalBase: internal, publicUrl: 'https://h/api' });
    const blank = { ...env, AGENTRUN_INTERNAL_MGR_URL: '  ' };
    expect(readWorkerConfig(blank).manager).toEqual({ url: 'https://h/api', variable: 'AGENTRUN_MGR_URL' });
    expect(readWorkerConfig(needed).manager).toEqual({
      url: 'http://127.0.0.1:8080',
      variable: 'AGENTRUN_INTERNAL_MGR_URL',
    });
  });
});

describe('a base URL', () => {
  it.each([
    ['api:8000', 'http:// or https://'],
    ['ftp://api', 'http:// or https://'],
    ['http://', 'http:// or https://'],
    ['http:api', 'http:// or https://'],
    ['http://someone:hunter2@api', 'user name or password'],
    ['http://someone@api', 'user name or password'],
    ['http://api?tenant=hunter2', 'query'],
    ['http://api/x?', 'query'],
    ['http://api#hunter2', 'fragment'],
    ['http://api/#', 'fragment'],
  ])('%s is refused', (url, reason) => {
    expect(baseUrlProblem(url)).toContain(reason);
    for (const variable of ['AGENTRUN_MGR_URL', 'AGENTRUN_INTERNAL_MGR_URL']) {
      const error = problemsOf(() => readWorkerConfig({ ...needed, [variable]: url }));
      expect(error.problems).toEqual([{ variable, expected: expect.stringContaining(reason) as unknown }]);
      expect(error.message).not.toMatch(/hunter2|someone/);
    }
  });

  it.each(['http://api', 'https://h/api', 'HTTP://[::1]:8080/team/agentrun'])('%s is taken', (url) => {
    expect(baseUrlProblem(url)).toBeUndefined();
  });

  it('that is internal and has a path is named with what would be right, and refused when urls are strict', () => {
    expect(internalUrlProblem('http://api:8000/api/')).toMatch(
      /remove \/api, .* set it to http:\/\/api:8000$/,
    );
    expect(internalUrlProblem('http://api:8000//')).toBeUndefined();
    expect(internalUrlProblem(undefined)).toBeUndefined();
    const env = { ...needed, AGENTRUN_INTERNAL_MGR_URL: 'http://api:8000/api' };
    expect(readWorkerConfig(env).manager.url).toBe('http://api:8000/api');
    for (const read of [readWorkerConfig, readApiConfig]) {
      const error = problemsOf(() => read({ ...env, AGENTRUN_STRICT_URLS: 'true' }));
      expect(error.message).toContain('AGENTRUN_INTERNAL_MGR_URL: the internal URL is the direct hop');
    }
  });
});

describe('the path prefix', () => {
  it.each([
    ['api', '/api'],
    ['/api', '/api'],
    ['/api/', '/api'],
    [' /api// ', '/api'],
    ['/', ''],
    ['', ''],
    ['/team/agentrun', '/team/agentrun'],
    ['team/agentrun/', '/team/agentrun'],
    ['/a//b', undefined],
    ['/..', undefined],
    ['/a?b', undefined],
    ['/%61pi', undefined],
    ['/api/v1', undefined],
    ['/api/v1/x', undefined],
    ['/api/v10', '/api/v10'],
  ])('%j is %j', (text, prefix) => {
    expect(normalPathPrefix(text)).toBe(prefix);
  });

  it('is the setting, else the path of the public URL', () => {
    const guarded = { ...needed, AGENTRUN_API_TOKEN: 'agr_0123456789abcdef' };
    const read = (env: Record<string, string>) => readApiConfig({ ...guarded, ...env }).pathPrefix;
    expect(read({})).toBe('');
    expect(read({ AGENTRUN_MGR_URL: 'https://h/agentrun/' })).toBe('/agentrun');
    expect(read({ AGENTRUN_MGR_URL: 'https://h/agentrun', AGENTRUN_PATH_PREFIX: ' ' })).toBe('/agentrun');
    expect(read({ AGENTRUN_MGR_URL: 'https://h/agentrun', AGENTRUN_PATH_PREFIX: '/' })).toBe('');
    expect(read({ AGENTRUN_PATH_PREFIX: 'team/agentrun/' })).toBe('/team/agentrun');
    expect(() => read({ AGENTRUN_MGR_URL: 'https://h/api/v1' })).toThrow(/AGENTRUN_MGR_URL: its path/);
    expect(() => read({ AGENTRUN_PATH_PREFIX: '/api/v1' })).toThrow(/AGENTRUN_PATH_PREFIX: expected a path/);
  });
});
