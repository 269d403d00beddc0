import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { Pool } from './pool.js';

const migrationRow = z.object({ name: z.string() });
const undefinedTable = '42P01';
const lookMs = 1_000;

/** How the schema of a database stands to this build: names of migrations, sorted. */
export interface SchemaState {
  readonly needed: readonly string[];
  readonly missing: readonly string[];
  /** Of a newer build. */
  readonly newer: readonly string[];
}

/** @param directory holds the migrations of this build. */
export async function schemaState(pool: Pool, directory: string): Promise<SchemaState> {
  const needed = readdirSync(directory)
    .flatMap((file) => (file.endsWith('.sql') ? [file.slice(0, -4)] : []))
    .sort();
  const applied = await appliedMigrations(pool);
  return {
    needed,
    missing: needed.filter((name) => !applied.includes(name)),
    newer: applied.filter((name) => !needed.includes(name)).sort(),
  };
}

/**
 * Waits until somebody else has brought the database to this build's schema; a database that cannot be reached is waited for too.
 *
 * @throws Error that names what is missing, or why it could not be seen, once `limitMs` are over.
 */
export async function waitForSchema(pool: Pool, directory: string, limitMs: number): Promise<void> {
  const startedAt = performance.now();
  for (;;) {
    const lack = await whatIsLacking(pool, directory);
    if (lack === undefined) return;
    if (performance.now() - startedAt + lookMs > limitMs) throw new Error(lack);
    await sleep(lookMs);
  }
}

/** Undefined when nothing is. */
async function whatIsLacking(pool: Pool, directory: string): Promise<string | undefined> {
  try {
    const { missing } = await schemaState(pool, directory);
    return missing.length === 0 ? undefined : `the database lacks ${missing.join(', ')}`;
  } catch (error) {
    return `the database cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
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
