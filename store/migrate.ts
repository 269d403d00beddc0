import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PG_MIGRATE_LOCK_ID, runner } from 'node-pg-migrate';
import pg from 'pg';
import { migrationFiles } from './migration-files.js';
import { ensureEventPartitions, eventsWithoutPartition } from './partitions.js';

/** Where a migrator says what it does. */
export interface MigrationLog {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** The folder with the .sql files, below the package's root. */
export const migrationsDirectory = (packageRoot: string) => join(packageRoot, 'store', 'migrations');

/** How often a migrator that waits for another one looks, and how long: building the indexes of a large database takes its time. */
const lockLookMs = 200;
const longestWaitMs = 3_600_000;

/**
 * Brings the database to the newest schema and makes the coming partitions of `events`. Several may run at once: they wait
 * for each other on an advisory lock, the first applies, the others find nothing to do. Answers the names applied.
 *
 * @throws Error of Postgres `55P03` when a table stayed locked by others: nothing of that migration was done, run it again. When another migrator takes
 * longer than an hour.
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
    await lockForMigration(client, options.log);
    const applied = await runner({
      dbClient: client,
      dir: options.directory,
      direction: 'up',
      migrationsTable: 'schema_migrations',
      noLock: true,
      checkOrder: true,
      migrationLoaderStrategies: migrationFiles,
      logger: {
        info: noLog,
        debug: noLog,
        // Meant: the file says so.
        warn: (text) => (text.includes('not wrapped in a transaction') ? undefined : options.log.warn(text)),
        error: (text) => options.log.error(text),
      },
    });
    const { tooLarge } = await ensureEventPartitions(client, options.nowMs);
    if (tooLarge.length > 0) options.log.warn(eventsWithoutPartition(tooLarge));
    return applied.map((migration) => migration.name);
  } finally {
    await client.end();
  }
}

/**
 * Takes the lock of node-pg-migrate, until the connection ends. It looks again and again instead of waiting inside of Postgres: a statement that waits
 * holds a snapshot, and an index that is built concurrently waits for the end of all snapshots.
 */
async function lockForMigration(client: pg.Client, log: MigrationLog): Promise<void> {
  const startedAt = performance.now();
  for (let looks = 1; ; looks += 1) {
    const found = await client.query<{ locked: boolean }>('select pg_try_advisory_lock($1) as locked', [
      PG_MIGRATE_LOCK_ID,
    ]);
    if (found.rows[0]?.locked === true) return;
    if (looks === 1) log.info('another migrator is at work; waiting for it');
    if (performance.now() - startedAt > longestWaitMs)
      throw new Error('another migrator has been at work for an hour');
    await sleep(lockLookMs);
  }
}

// node-pg-migrate prints every statement at info.
const noLog = () => undefined;
