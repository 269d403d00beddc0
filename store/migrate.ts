import { join } from 'node:path';
import { runner } from 'node-pg-migrate';
import pg from 'pg';
import { ensureEventPartitions } from './partitions.js';

/** Where a migrator says what it does. */
export interface MigrationLog {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** The folder with the .sql files, below the package's root. */
export const migrationsDirectory = (packageRoot: string) => join(packageRoot, 'store', 'migrations');

/**
 * Brings the database to the newest schema and makes the coming partitions of `events`. Several may run at once: they wait
 * for each other on an advisory lock, the first applies, the others find nothing to do. Answers the names applied.
 */
export async function migrate(options: {
  readonly databaseUrl: string;
  readonly directory: string;
  readonly log: MigrationLog;
  readonly nowMs: number;
}): Promise<string[]> {
  const client = new pg.Client({
    connectionString: options.databaseUrl,
    application_name: 'agentrun-migrate',
    connectionTimeoutMillis: 10_000,
  });
  // Without a listener, a connection that breaks between two statements would end the process.
  client.on('error', (error) => options.log.error(`the connection broke: ${error.message}`));
  await client.connect();
  try {
    const applied = await runner({
      dbClient: client,
      dir: options.directory,
      direction: 'up',
      migrationsTable: 'schema_migrations',
      advisoryLockMode: 'wait',
      checkOrder: true,
      logger: {
        info: noLog,
        debug: noLog,
        warn: (text) => options.log.warn(text),
        error: (text) => options.log.error(text),
      },
    });
    await ensureEventPartitions(client, options.nowMs);
    return applied.map((migration) => migration.name);
  } finally {
    await client.end();
  }
}

// node-pg-migrate prints every statement at info.
const noLog = () => undefined;
