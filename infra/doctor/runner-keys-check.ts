import type { Check } from '../../contract/doctor.js';
import { RunnerTokens } from '../tokens/runner-tokens.js';

/** Whether the keys of runner tokens can be read, and one of them signs. */
export function runnerKeysCheck(path: string): Check {
  const variable = 'AGENTRUN_RUNNER_KEYS_FILE';
  return {
    name: 'runner keys',
    variable,
    cure: `correct ${variable}: a JSON Web Key Set with an ES256 private key, the same for API and worker`,
    look: async () => {
      const tokens = await RunnerTokens.fromFile(path);
      await tokens.mintLaunch({ run: 'check', epoch: 1, job: 'check', jobId: 'check' }, 1_000);
      return { ok: true, message: 'can be read, and one signs' };
    },
  };
}
