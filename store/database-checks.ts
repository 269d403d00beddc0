import { z } from 'zod';
import type { Check } from '../contract/doctor.js';
import { clockOffsetMs, clockRemark } from '../domain/clock-offset.js';
import type { Pool } from './pool.js';
import { schemaState } from './schema-state.js';

const timeRow = z.object({ now_ms: z.number() });

/**
 * Whether Postgres is there, has the schema that this build is made for, and our time: leases and deadlines are counted by its clock, tokens by ours.
 *
 * @param directory holds the migrations.
 * @param nowMs our clock.
 */
export function databaseChecks(pool: Pool, directory: string, nowMs: () => number = Date.now): Check[] {
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
        const { needed, missing, newer } = await schemaState(pool, directory);
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
    {
      name: 'database clock',
      needs: 'postgres',
      variable: 'DATABASE_URL',
      cure: 'correct DATABASE_URL first',
      look: async () => {
        const beforeMs = nowMs();
        const read = await pool.query(
          'select (extract(epoch from clock_timestamp()) * 1000)::float8 as now_ms',
        );
        const theirsMs = timeRow.parse(read.rows[0]).now_ms;
        const remark = clockRemark(clockOffsetMs({ beforeMs, afterMs: nowMs(), theirsMs, resolutionMs: 1 }));
        return remark === undefined
          ? { ok: true, message: 'the same as here' }
          : {
              ok: false,
              message: `the clock of the database is ${remark}`,
              cure: 'set both clocks by a time server (timedatectl set-ntp true)',
            };
      },
    },
  ];
}
