import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packageRoot } from '../../infra/config/package-root.js';
import { type LocalStack, startLocalStack } from '../support/local-stack.js';

const run = promisify(execFile);

let local: LocalStack;
beforeAll(async () => {
  local = await startLocalStack(() => undefined);
});
afterAll(async () => {
  await local?.stop();
});

/** The example as a user runs it; rejects when it ends with another code than 0. */
const oldClient = (scenario: string, token = local.token) =>
  run(process.execPath, [join(packageRoot(), 'examples', 'old-client.mjs'), scenario], {
    env: { AGENTRUN_MGR_URL: local.stack.apiUrl, AGENTRUN_API_TOKEN: token },
    timeout: 150_000,
  });

describe('a client of the old manager', () => {
  it.each(['converse', 'cancel', 'serve', 'launch'])(
    '%s',
    async (scenario) => {
      const { stdout } = await oldClient(scenario);
      expect(stdout).toMatch(/all as an old client expects\n$/);
    },
    160_000,
  );

  it('says what is not as expected', async () => {
    await expect(oldClient('launch', 'no-such-token')).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('401 unauthorized'),
    });
  });
});
