import { type MigrateConfig, readMigrateConfig } from '../infra/config/migrate-config.js';
import { packageRoot } from '../infra/config/package-root.js';
import { ConfigurationError } from '../infra/config/read-env.js';
import { createLogger, type Logger } from '../infra/telemetry/logger.js';
import { createRedactor } from '../infra/telemetry/redaction.js';
import { migrate, migrationsDirectory } from './migrate.js';
import { createPool } from './pool.js';
import { waitForSchema } from './schema-state.js';

/** For how long `--wait` waits: what starts a pod then starts it again. */
const waitMs = 600_000;

/** Exit codes: 0 migrated (or nothing to do), 1 failed, 2 wrong configuration. With `--wait` it changes nothing: 0 once another has migrated. */
async function main(): Promise<number> {
  const config = readMigrateConfig();
  const logger = createLogger({
    name: 'agentrun-migrate',
    level: config.logLevel,
    redactor: createRedactor([config.databaseUrl]),
  });
  if (process.argv.includes('--wait')) return wait(config, logger);
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

/** So that API and worker of a new build begin after the migrator, in whatever order a cluster starts them. */
async function wait(config: MigrateConfig, logger: Logger): Promise<number> {
  const pool = createPool({
    connectionString: config.databaseUrl,
    applicationName: 'agentrun-migrate-wait',
    maxConnections: 1,
    onError: () => undefined,
  });
  try {
    await waitForSchema(pool, migrationsDirectory(packageRoot()), waitMs);
    logger.info('the schema is there');
    return 0;
  } catch (error) {
    logger.error({ cause: error, waitMs }, 'the schema did not come');
    return 1;
  } finally {
    await pool.end();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof ConfigurationError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 2;
}
