import { z } from 'zod';
import { idPrefixes, lowestIdAt } from '../contract/ids.js';
import { type EventPartition, eventPartitionOf, lockPartitions } from './partitions.js';
import type { Queryable } from './pool.js';

/** Rows of one statement: each is short, and no lock is held for long. */
const batchRows = 2_000;
/** Ids are made by clocks that may differ: no run of a month is made so long after its end. */
const clockToleranceMs = 86_400_000;
const defaultPartition = 'events_default';

/** What became of a month of the log: `kept` names the run that holds it back. */
export type MonthEnd =
  | { readonly outcome: 'dropped' }
  | { readonly outcome: 'kept'; readonly reason: string };

/** The months of the log that are over, oldest first. */
export async function listPastEventMonths(db: Queryable, nowMs: number): Promise<string[]> {
  const found = await db.query<{ name: string }>(
    `select c.relname as name from pg_inherits i join pg_class c on c.oid = i.inhrelid
      where i.inhparent = 'events'::regclass order by c.relname`,
  );
  const firstOpen = lowestIdAt(idPrefixes.run, nowMs - clockToleranceMs);
  return found.rows
    .map((row) => eventPartitionOf(row.name))
    .filter((partition) => partition !== undefined && partition.to <= firstOpen)
    .map((partition) => partition?.name ?? '');
}

/**
 * Drops a month of the log with what is in quarantine of its runs, if every run of it ended more than `retentionDays` ago, and records that it did so.
 * A month that was dropped before is `dropped`.
 *
 * @throws RangeError for a name that is no month of the log. Error of Postgres `55P03` when others held the tables: nothing was done, try again.
 */
export async function dropEventMonth(
  client: Queryable,
  name: string,
  retentionDays: number,
): Promise<MonthEnd> {
  const partition = eventPartitionOf(name);
  if (partition === undefined) throw new RangeError(`${name} is no month of the log`);
  await client.query('begin');
  try {
    await lockPartitions(client);
    const end = await dropUnlessHeld(client, partition, retentionDays);
    await client.query('commit');
    return end;
  } catch (error) {
    await client.query('rollback');
    throw error;
  }
}

async function dropUnlessHeld(
  client: Queryable,
  { name, from, to }: EventPartition,
  retentionDays: number,
): Promise<MonthEnd> {
  const existing = await client.query('select 1 from pg_class where oid = to_regclass($1)', [name]);
  if (existing.rows.length === 0) return { outcome: 'dropped' };
  const reason = await whyHeld(client, { from, to }, retentionDays);
  if (reason !== null) return { outcome: 'kept', reason };
  // A run that has ended writes no more events: what is counted here is what the drop below takes away.
  await client.query(
    `insert into dropped_events (partition, from_run_id, to_run_id, last_xid, last_run_id, last_seq, runs, bytes)
     select $1, $2, $3, last.xid, last.run_id, last.seq,
       (select count(*) from runs where run_id >= $2 and run_id < $3), pg_total_relation_size(to_regclass($1))
       from (select 1) one left join (${lastOf(name)}) last on true
     on conflict (partition) do update set last_xid = excluded.last_xid, last_run_id = excluded.last_run_id, last_seq = excluded.last_seq,
       dropped_at = now()`,
    [name, from, to],
  );
  await forgetQuarantined(client);
  // Last, since from here on everybody waits who reads or writes events.
  await client.query(`drop table ${name}`);
  return { outcome: 'dropped' };
}

/** The last event of a table in the order of the feed. */
const lastOf = (table: string) =>
  `select xid, run_id, seq from ${table} order by xid desc, run_id desc, seq desc limit 1`;

async function whyHeld(
  db: Queryable,
  { from, to }: Pick<EventPartition, 'from' | 'to'>,
  retentionDays: number,
): Promise<string | null> {
  const open = await db.query<{ run_id: string }>(
    `select run_id from runs where run_id >= $1 and run_id < $2 and terminal_status is null order by run_id desc limit 1`,
    [from, to],
  );
  if (open.rows[0] !== undefined) return `run ${open.rows[0].run_id} has not ended`;
  const young = await db.query<{ run_id: string }>(
    `select run_id from runs where run_id >= $1 and run_id < $2 and ${endedWithin('$3')} order by run_id desc limit 1`,
    [from, to, retentionDays],
  );
  return young.rows[0] === undefined
    ? null
    : `run ${young.rows[0].run_id} ended less than ${retentionDays} days ago`;
}

/** SQL: a run that has ended did so less than so many days ago. */
const endedWithin = (days: string) =>
  `coalesce(finished_at, updated_at) > now() - ${days}::int * interval '1 day'`;

/** Also what came late of runs whose month was dropped before. */
async function forgetQuarantined(db: Queryable): Promise<void> {
  await db.query(
    `delete from quarantined_events q using dropped_events d
      where q.run_id >= d.from_run_id and q.run_id < d.to_run_id`,
  );
}

/** What became of runs whose events are in the default partition. */
export interface TrimmedDefault {
  readonly deleted: number;
  readonly kept: number;
}

const defaultRunSchema = z.object({ run_id: z.string(), held: z.boolean() });

/**
 * Deletes events that never got a partition of their own, run by run in bounded batches from the beginning of each log, if the run ended more than
 * `retentionDays` ago or is gone. Called again after whatever happened it goes on.
 *
 * @param signal aborts between two batches.
 */
export async function trimDefaultEvents(
  db: Queryable,
  retentionDays: number,
  signal: AbortSignal,
): Promise<TrimmedDefault> {
  let [deleted, kept, after] = [0, 0, ''];
  for (;;) {
    const found = await db.query(
      `select d.run_id, r.run_id is not null and (r.terminal_status is null or ${endedWithin('$2')}) as held
         from (select run_id from events_default where run_id > $1 order by run_id limit 1) d left join runs r using (run_id)`,
      [after, retentionDays],
    );
    if (found.rows[0] === undefined) return { deleted, kept };
    const { run_id: runId, held } = defaultRunSchema.parse(found.rows[0]);
    after = runId;
    if (held) {
      kept += 1;
      continue;
    }
    await deleteFromDefault(db, runId, signal);
    deleted += 1;
  }
}

async function deleteFromDefault(db: Queryable, runId: string, signal: AbortSignal): Promise<void> {
  await db.query('delete from quarantined_events where run_id = $1', [runId]);
  for (let runs = 1; ; runs = 0) {
    signal.throwIfAborted();
    const gone = await db.query(
      `with gone as (
         delete from events_default where run_id = $1 and seq <= (
           select max(seq) from (select seq from events_default where run_id = $1 order by seq limit $2) page)
         returning xid, run_id, seq, pg_column_size(payload) as bytes)
       insert into dropped_events as d (partition, last_xid, last_run_id, last_seq, runs, bytes)
       select $3, last.xid, last.run_id, last.seq, $4, (select sum(bytes) from gone) from (${lastOf('gone')}) last
       on conflict (partition) do update set (last_xid, last_run_id, last_seq) =
           (select * from (values (d.last_xid, d.last_run_id, d.last_seq), (excluded.last_xid, excluded.last_run_id, excluded.last_seq))
              as v(xid, run_id, seq) order by xid desc nulls last, run_id desc, seq desc limit 1),
         runs = d.runs + excluded.runs, bytes = d.bytes + excluded.bytes, dropped_at = now()`,
      [runId, batchRows, defaultPartition, runs],
    );
    if (gone.rowCount === 0) return;
  }
}
