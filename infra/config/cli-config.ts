import { resolve } from 'node:path';
import { z } from 'zod';
import { type Environment, parseEnvironment } from './read-env.js';
import { secretSetting } from './secret-file.js';
import { httpUrlSetting } from './setting-types.js';

const settings = z.object({
  AGENTRUN_DATA_DIR: z.string().default('.agentrun'),
  AGENTRUN_MGR_URL: httpUrlSetting.optional(),
  AGENTRUN_API_TOKEN: z.string().optional(),
  AGENTRUN_API_TOKEN_FILE: z.string().optional(),
  NO_COLOR: z.string().optional(),
});

/** Settings of the `agentrun` command. What is not set is taken from the local stack of the data folder. */
export interface CliConfig {
  readonly dataDir: string;
  readonly apiUrl: string | undefined;
  /** Secret. */
  readonly apiToken: string | undefined;
}

/**
 * Reads the command's settings.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function readCliConfig(env: Environment = process.env): CliConfig {
  const read = parseEnvironment(settings, env);
  return {
    dataDir: resolve(read.AGENTRUN_DATA_DIR),
    apiUrl: read.AGENTRUN_MGR_URL,
    apiToken: secretSetting({
      variable: 'AGENTRUN_API_TOKEN',
      value: read.AGENTRUN_API_TOKEN,
      file: read.AGENTRUN_API_TOKEN_FILE,
    }),
  };
}
