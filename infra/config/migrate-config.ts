import { z } from 'zod';
import { type Environment, parseEnvironment } from './read-env.js';
import { requiredSecretSetting } from './secret-file.js';
import { databaseUrlSetting, logLevelSetting } from './setting-types.js';

const settings = z.object({
  DATABASE_URL: databaseUrlSetting.optional(),
  DATABASE_URL_FILE: z.string().optional(),
  AGENTRUN_LOG_LEVEL: logLevelSetting.default('info'),
});

/** Settings of the migrator. */
export interface MigrateConfig {
  /** Secret. */
  readonly databaseUrl: string;
  readonly logLevel: string;
}

/**
 * Reads the settings of the migrator.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function readMigrateConfig(env: Environment = process.env): MigrateConfig {
  const read = parseEnvironment(settings, env);
  return {
    databaseUrl: requiredSecretSetting({
      variable: 'DATABASE_URL',
      value: read.DATABASE_URL,
      file: read.DATABASE_URL_FILE,
    }),
    logLevel: read.AGENTRUN_LOG_LEVEL,
  };
}
