import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { childEnvironment } from '../../../infra/config/child-environment.js';
import { ConfigurationError, parseEnvironment } from '../../../infra/config/read-env.js';
import { httpUrlSetting, integerSetting, portSetting } from '../../../infra/config/setting-types.js';
import { readStackConfig } from '../../../infra/config/stack-config.js';

const schema = z.object({
  PORT: portSetting.default(8080),
  PUBLIC_URL: httpUrlSetting,
  SLOTS: integerSetting({ min: 1, max: 9 }).optional(),
});

function problemsOf(read: () => unknown): ConfigurationError {
  try {
    read();
  } catch (error) {
    if (error instanceof ConfigurationError) return error;
    throw error;
  }
  throw new Error('nothing was wrong');
}

describe('parseEnvironment', () => {
  it('counts blank as unset', () => {
    expect(parseEnvironment(schema, { PORT: ' ', PUBLIC_URL: 'http://a/', SLOTS: '' })).toEqual({
      PORT: 8080,
      PUBLIC_URL: 'http://a',
    });
  });

  it('names every wrong variable and never its value', () => {
    const error = problemsOf(() => parseEnvironment(schema, { PORT: 'hunter2', SLOTS: '10' }));
    expect(error.problems.map((problem) => problem.variable).sort()).toEqual(['PORT', 'PUBLIC_URL', 'SLOTS']);
    expect(error.message).toContain('SLOTS: expected a whole number from 1 to 9');
    expect(error.message).toContain('PUBLIC_URL: is not set');
    expect(error.message).not.toContain('hunter2');
  });
});

describe('readStackConfig', () => {
  it('takes the key from a file, without the line end', () => {
    const folder = mkdtempSync(join(tmpdir(), 'agentrun-config-'));
    try {
      const file = join(folder, 'key');
      writeFileSync(file, 'secret-key\n');
      expect(readStackConfig({ AGENTRUN_PROVIDER_KEY_FILE: file }).provider.key).toBe('secret-key');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('names a file that is not there', () => {
    const error = problemsOf(() => readStackConfig({ AGENTRUN_PROVIDER_KEY_FILE: '/nowhere/key' }));
    expect(error.message).toContain(
      'AGENTRUN_PROVIDER_KEY_FILE: the file /nowhere/key cannot be read (ENOENT)',
    );
  });
});

describe('childEnvironment', () => {
  afterEach(() => vi.unstubAllEnvs());

  it('hands on what a program needs and nothing secret', () => {
    vi.stubEnv('OPENAI_API_KEY', 'sk-secret');
    const env = childEnvironment({ MINE: '1', ABSENT: undefined });
    expect(env.PATH).toBeDefined();
    expect(env.MINE).toBe('1');
    expect(Object.keys(env)).not.toContain('ABSENT');
    expect(Object.values(env)).not.toContain('sk-secret');
  });
});
