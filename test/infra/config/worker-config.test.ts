import { describe, expect, it } from 'vitest';
import { readWorkerConfig } from '../../../infra/config/worker-config.js';

const common = {
  DATABASE_URL: 'postgres://user@127.0.0.1/agentrun',
  AGENTRUN_RUNNER_KEYS_FILE: '/keys.json',
};
const provider = {
  AGENTRUN_PROVIDER_BASE_URL: 'http://127.0.0.1:1/v1',
  AGENTRUN_PROVIDER_KEY_FILE: '/key',
  AGENTRUN_MODEL: 'model-1',
};

describe('the launcher of a worker', () => {
  it('is process, and then a provider is needed', () => {
    const config = readWorkerConfig({ ...common, ...provider });
    expect(config.runners).toMatchObject({
      launcher: 'process',
      provider: { model: 'model-1', keyFile: '/key' },
    });
    const without = () => readWorkerConfig({ ...common, AGENTRUN_MODEL: 'model-1' });
    expect(without).toThrow(/AGENTRUN_PROVIDER_BASE_URL: is not set/);
    expect(without).toThrow(/AGENTRUN_PROVIDER_KEY_FILE: is not set/);
  });

  it('may be external, and then none is read', () => {
    const config = readWorkerConfig({ ...common, AGENTRUN_LAUNCHER: 'external' });
    expect(config.runners).toEqual({ launcher: 'external' });
  });

  it('is nothing else', () => {
    expect(() => readWorkerConfig({ ...common, ...provider, AGENTRUN_LAUNCHER: 'docker' })).toThrow(
      /AGENTRUN_LAUNCHER: expected process, kubernetes or external/,
    );
  });
});
