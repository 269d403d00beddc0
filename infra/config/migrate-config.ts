import { z } from 'zod';
import { type Environment, parseEnvironment } from './read-env.js';
import { databaseUrl, databaseVariables } from './service-settings.js';
import { logLevelMeaning, logLevelSetting } from './setting-types.js';

/** The variables of the migrator. */
export const migrateSettings = z.object({
  ...databaseVariables,
  AGENTRUN_LOG_LEVEL: logLevelSetting.default('info').describe(logLevelMeaning),
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
  const read = parseEnvironment(migrateSettings, env);
  return {
    databaseUrl: databaseUrl(read),
    logLevel: read.AGENTRUN_LOG_LEVEL,
  };
}
