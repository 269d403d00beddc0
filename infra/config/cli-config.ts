import { resolve } from 'node:path';
import { z } from 'zod';
import { managerUrlVariables } from './base-urls.js';
import { type Environment, parseEnvironment } from './read-env.js';
import { secretSetting } from './secret-file.js';
import { dataDirMeaning } from './setting-types.js';

/** The variables of the `agentrun` command. */
export const cliSettings = z.object({
  AGENTRUN_DATA_DIR: z.string().default('.agentrun').describe(dataDirMeaning),
  AGENTRUN_MGR_URL: managerUrlVariables.AGENTRUN_MGR_URL,
  AGENTRUN_API_TOKEN: z
    .string()
    .optional()
    .describe('Bearer token. A secret: rather give the file. Not set: that of the local stack.'),
  AGENTRUN_API_TOKEN_FILE: z.string().optional().describe('File that holds the bearer token.'),
  NO_COLOR: z.string().optional().describe('Set to anything: no colours.'),
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
  const read = parseEnvironment(cliSettings, env);
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
