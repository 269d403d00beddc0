import { idPrefixes, lowestIdAt } from '../contract/ids.js';
import type { Queryable } from './pool.js';

/** This month and the two that follow. */
const monthsAhead = 2;

/** A month of `events`: the partition's name and its bounds, of which the upper one is exclusive. */
export interface EventPartition {
  readonly name: string;
  readonly from: string;
  readonly to: string;
}

/** The partitions that exist from `nowMs` (epoch milliseconds, UTC months) on. */
export function eventPartitions(nowMs: number): EventPartition[] {
  const now = new Date(nowMs);
  return Array.from({ length: monthsAhead + 1 }, (_, index) => {
    const start = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + index, 1));
    const end = Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1, 1);
    return {
      name: `events_${start.toISOString().slice(0, 7).replace('-', '_')}`,
      from: lowestIdAt(idPrefixes.run, start.getTime()),
      to: lowestIdAt(idPrefixes.run, end),
    };
  });
}

/**
 * Makes the monthly partitions of `events` that are missing (architecture.md 6). Rows of a month that went to
 * `events_default` before its partition existed are moved into it.
 */
export async function ensureEventPartitions(client: Queryable, nowMs: number): Promise<void> {
  for (const partition of eventPartitions(nowMs)) await ensurePartition(client, partition);
}

async function ensurePartition(client: Queryable, partition: EventPartition): Promise<void> {
  // Names and bounds are made by us from digits and letters; DDL takes no parameters.
  const { name, from, to } = partition;
  await client.query('begin');
  try {
    await client.query(`select pg_advisory_xact_lock(hashtext('agentrun event partitions'))`);
    const existing = await client.query('select 1 from pg_class where oid = to_regclass($1)', [name]);
    if (existing.rows.length === 0) {
      await client.query(`create table ${name} (like events including defaults including constraints)`);
      await client.query(
        `with moved as (delete from events_default where run_id >= '${from}' and run_id < '${to}' returning *)
         insert into ${name} select * from moved`,
      );
      await client.query(
        `alter table events attach partition ${name} for values from ('${from}') to ('${to}')`,
      );
    }
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}
