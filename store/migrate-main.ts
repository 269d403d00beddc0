import { readMigrateConfig } from '../infra/config/migrate-config.js';
import { packageRoot } from '../infra/config/package-root.js';
import { ConfigurationError } from '../infra/config/read-env.js';
import { createLogger } from '../infra/telemetry/logger.js';
import { createRedactor } from '../infra/telemetry/redaction.js';
import { migrate, migrationsDirectory } from './migrate.js';

/** Exit codes: 0 migrated (or nothing to do), 1 failed, 2 wrong configuration. */
async function main(): Promise<number> {
  const config = readMigrateConfig();
  const logger = createLogger({
    name: 'agentrun-migrate',
    level: config.logLevel,
    redactor: createRedactor([config.databaseUrl]),
  });
  try {
    const applied = await migrate({
      databaseUrl: config.databaseUrl,
      directory: migrationsDirectory(packageRoot()),
      log: {
        info: (text) => logger.info(text),
        warn: (text) => logger.warn(text),
        error: (text) => logger.error(text),
      },
      nowMs: Date.now(),
    });
    logger.info({ applied }, applied.length === 0 ? 'the schema is up to date' : 'migrated');
    return 0;
  } catch (error) {
    logger.error({ cause: error }, 'migrating failed');
    return 1;
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof ConfigurationError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
