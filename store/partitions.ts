import { setTimeout as sleep } from 'node:timers/promises';
import { idPrefixes, lowestIdAt } from '../contract/ids.js';
import type { Queryable } from './pool.js';

/** This month and the two that follow. */
const monthsAhead = 2;
/** Whoever waits for a lock makes everybody after him wait too: better to let them through and to come again. */
const lockTimeoutMs = 500;
const tries = 6;
/** What is moved at most while writers wait: a second or two. */
const mostMoved = { rows: 50_000, bytes: 128 * 1_048_576 } as const;

/** A month of `events`: the partition's name and its bounds, of which the upper one is exclusive. */
export interface EventPartition {
  readonly name: string;
  readonly from: string;
  readonly to: string;
}

type PartitionEnd = 'there' | 'made' | 'tooLarge';

/** Names of partitions: those that were there, those that were made, and those that cannot be made, for too much of their month is in `events_default`. */
export type EnsuredPartitions = Readonly<Record<PartitionEnd, readonly string[]>>;

/** The month that begins `months` after that of `nowMs` (epoch milliseconds, UTC months). */
function monthPartition(nowMs: number, months: number): EventPartition {
  const now = new Date(nowMs);
  const start = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + months, 1));
  const end = Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1, 1);
  return {
    name: `events_${start.toISOString().slice(0, 7).replace('-', '_')}`,
    from: lowestIdAt(idPrefixes.run, start.getTime()),
    to: lowestIdAt(idPrefixes.run, end),
  };
}

/** The partitions that exist from `nowMs` (epoch milliseconds, UTC months) on. */
export function eventPartitions(nowMs: number): EventPartition[] {
  return Array.from({ length: monthsAhead + 1 }, (_, index) => monthPartition(nowMs, index));
}

/** The month that a partition of this name holds; undefined for a name that we did not give. */
export function eventPartitionOf(name: string): EventPartition | undefined {
  const [, year, month] = /^events_(\d{4})_(\d{2})$/.exec(name) ?? [];
  if (year === undefined || month === undefined) return undefined;
  const partition = monthPartition(Date.UTC(Number(year), Number(month) - 1, 1), 0);
  return partition.name === name ? partition : undefined;
}

/**
 * Makes the monthly partitions of `events` that are missing (architecture.md 6). Rows of a month that went to `events_default` before its partition
 * existed are moved into it, in one transaction: readers see them all the while, writers wait for the move. Where there are too many of them to be
 * waited for, they stay where they are, and so does what follows in that month. Safe to repeat.
 *
 * @throws Error of Postgres `55P03` when others held the locks in every try.
 */
export async function ensureEventPartitions(client: Queryable, nowMs: number): Promise<EnsuredPartitions> {
  const byEnd: Record<PartitionEnd, string[]> = { there: [], made: [], tooLarge: [] };
  for (const partition of eventPartitions(nowMs))
    byEnd[await ensurePartition(client, partition)].push(partition.name);
  return byEnd;
}

/** In words: partitions that cannot be made. */
export const eventsWithoutPartition = (names: readonly string[]): string =>
  `too many events of ${names.join(', ')} are in events_default to move them while writers wait: they stay there (docs/adr/0020)`;

async function ensurePartition(client: Queryable, partition: EventPartition): Promise<PartitionEnd> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await makePartition(client, partition);
    } catch (error) {
      if (attempt === tries || !isPassing(error)) throw error;
    }
    await sleep(100 * 2 ** attempt * (0.5 + Math.random()));
  }
}

async function makePartition(client: Queryable, { name, from, to }: EventPartition): Promise<PartitionEnd> {
  // Names and bounds are made by us from digits and letters; DDL takes no parameters.
  await client.query('begin');
  try {
    await client.query(`set local lock_timeout = ${lockTimeoutMs}`);
    await lockPartitions(client);
    const existing = await client.query('select 1 from pg_class where oid = to_regclass($1)', [name]);
    let end: PartitionEnd = existing.rows.length > 0 ? 'there' : 'made';
    if (end === 'made' && (await isTooMuchToMove(client, { from, to }))) end = 'tooLarge';
    if (end === 'made') {
      // Readers go on; writers wait, of every month: one that waited for the default partition alone would hold the table that is locked below.
      await client.query('lock table events in share row exclusive mode');
      // With the indexes, which are built while readers still go on.
      await client.query(
        `create table ${name} (like events including defaults including constraints including indexes)`,
      );
      await client.query(
        `with moved as (delete from events_default where run_id >= '${from}' and run_id < '${to}' returning *)
         insert into ${name} select * from moved`,
      );
      // Now readers wait too. One that had looked up the partitions before and read afterwards would miss what was moved.
      await client.query('lock table events in access exclusive mode');
      await client.query(
        `alter table events attach partition ${name} for values from ('${from}') to ('${to}')`,
      );
    }
    await client.query('commit');
    return end;
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}

async function isTooMuchToMove(
  client: Queryable,
  { from, to }: Omit<EventPartition, 'name'>,
): Promise<boolean> {
  const found = await client.query<{ is_more: boolean }>(
    `select count(*) > $3 or coalesce(sum(pg_column_size(payload) + coalesce(pg_column_size(raw), 0)), 0) > $4 as is_more
       from (select payload, raw from events_default where run_id >= $1 and run_id < $2 limit $3 + 1) page`,
    [from, to, mostMoved.rows, mostMoved.bytes],
  );
  return found.rows[0]?.is_more === true;
}

/** Until the end of the transaction: partitions are made and dropped by one at a time. */
export async function lockPartitions(client: Queryable): Promise<void> {
  await client.query(`select pg_advisory_xact_lock(hashtext('agentrun event partitions'))`);
}

/** A lock that was not given in time, and two that wait for each other. */
function isPassing(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === '55P03' || code === '40P01';
}
