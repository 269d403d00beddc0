import { readdirSync } from 'node:fs';
import { z } from 'zod';
import type { Check } from '../contract/doctor.js';
import type { Pool } from './pool.js';

const migrationRow = z.object({ name: z.string() });
const undefinedTable = '42P01';

/** Whether Postgres is there, and has the schema that this build is made for. `directory` holds the migrations. */
export function databaseChecks(pool: Pool, directory: string): Check[] {
  return [
    {
      name: 'postgres',
      variable: 'DATABASE_URL',
      cure: 'start Postgres, or correct DATABASE_URL (or the file of DATABASE_URL_FILE)',
      look: async () => {
        await pool.query('select 1');
        return { ok: true, message: 'is reachable' };
      },
    },
    {
      name: 'migrations',
      needs: 'postgres',
      variable: 'DATABASE_URL',
      cure: 'correct DATABASE_URL first',
      look: async () => {
        const needed = readdirSync(directory).flatMap((file) =>
          file.endsWith('.sql') ? [file.slice(0, -4)] : [],
        );
        const applied = await appliedMigrations(pool);
        const missing = needed.filter((name) => !applied.includes(name)).sort();
        const newer = applied.filter((name) => !needed.includes(name));
        if (missing.length > 0) {
          return {
            ok: false,
            message: `the database lacks ${missing.join(', ')}`,
            cure: 'apply them (node dist/store/migrate-main.js), or correct DATABASE_URL if it names another database',
          };
        }
        return newer.length === 0
          ? { ok: true, message: `all ${needed.length} are applied` }
          : {
              ok: false,
              severity: 'warning',
              message: `the database is newer than this build: ${newer.join(', ')}`,
              cure: 'run the newer build',
            };
      },
    },
  ];
}

async function appliedMigrations(pool: Pool): Promise<string[]> {
  try {
    const found = await pool.query('select name from schema_migrations');
    return found.rows.map((row) => migrationRow.parse(row).name);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === undefinedTable) return [];
    throw error;
  }
}
