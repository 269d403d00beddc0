import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { migrate, migrationsDirectory } from '../../store/migrate.js';
import { createPool } from '../../store/pool.js';
import { schemaState, waitForSchema } from '../../store/schema-state.js';
import { quietLog } from '../support/postgres.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const directory = migrationsDirectory(packageRoot());
const migrated = (databaseUrl: string) =>
  migrate({ databaseUrl, directory, log: quietLog, nowMs: Date.now() });

/** Runs `work` with a pool that is closed at its end. */
async function withPool<T>(
  connectionString: string,
  work: (pool: ReturnType<typeof createPool>) => Promise<T>,
): Promise<T> {
  const pool = createPool({ connectionString, applicationName: 'test', onError: () => undefined });
  try {
    return await work(pool);
  } finally {
    await pool.end();
  }
}

describe('the schema of a database', () => {
  it('lacks everything when it was never migrated, nothing after that, and may be newer', async () => {
    const url = await postgres.newEmptyDatabase();
    await withPool(url, async (pool) => {
      const before = await schemaState(pool, directory);
      expect(before.missing).toEqual(before.needed);
      expect(before.needed.length).toBeGreaterThan(5);
      await migrated(url);
      expect(await schemaState(pool, directory)).toEqual({ needed: before.needed, missing: [], newer: [] });
      await pool.query("insert into schema_migrations (name, run_on) values ('9999_later', now())");
      expect((await schemaState(pool, directory)).newer).toEqual(['9999_later']);
    });
  });

  it('is waited for no longer than is said, and then named', async () => {
    await withPool(await postgres.newEmptyDatabase(), async (pool) => {
      await expect(waitForSchema(pool, directory, 1_500)).rejects.toThrow(/the database lacks 0001_/);
    });
    await withPool('postgres://agentrun@127.0.0.1:1/none', async (pool) => {
      await expect(waitForSchema(pool, directory, 500)).rejects.toThrow(/the database cannot be read/);
    });
  });
});

it('`migrate-main --wait` changes nothing and ends once another has migrated', async () => {
  const url = await postgres.newEmptyDatabase();
  const waiting = spawn(process.execPath, ['dist/store/migrate-main.js', '--wait'], {
    cwd: packageRoot(),
    env: childEnvironment({ DATABASE_URL: url }),
    stdio: 'ignore',
  });
  const ended = once(waiting, 'exit');
  await sleep(2_000);
  expect(waiting.exitCode).toBeNull();
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const found = await client.query("select to_regclass('schema_migrations') as made");
  await client.end();
  expect(found.rows).toEqual([{ made: null }]);
  await migrated(url);
  expect(await ended).toEqual([0, null]);
});
