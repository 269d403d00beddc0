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
 * A month that was dropped before is `dropped`. What is in quarantine goes first, in bounded batches, while nobody waits: there may be much of it.
 *
 * @param signal aborts between two batches.
 * @throws RangeError for a name that is no month of the log. Error of Postgres `55P03` when others held the tables: the log is as it was, try again.
 */
export async function dropEventMonth(
  client: Queryable,
  name: string,
  retentionDays: number,
  signal: AbortSignal,
): Promise<MonthEnd> {
  const partition = eventPartitionOf(name);
  if (partition === undefined) throw new RangeError(`${name} is no month of the log`);
  await forgetLateOfDropped(client, signal);
  if (await isThere(client, partition)) {
    const reason = await whyHeld(client, partition, retentionDays);
    if (reason !== null) return { outcome: 'kept', reason };
    await forgetQuarantined(client, 'run_id >= $1 and run_id < $2', [partition.from, partition.to], signal);
  }
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

async function isThere(client: Queryable, { name }: EventPartition): Promise<boolean> {
  const existing = await client.query('select 1 from pg_class where oid = to_regclass($1)', [name]);
  return existing.rows.length > 0;
}

async function dropUnlessHeld(
  client: Queryable,
  partition: EventPartition,
  retentionDays: number,
): Promise<MonthEnd> {
  const { name, from, to } = partition;
  if (!(await isThere(client, partition))) return { outcome: 'dropped' };
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

/** What came late of runs whose month was dropped before. */
async function forgetLateOfDropped(db: Queryable, signal: AbortSignal): Promise<void> {
  const dropped = await db.query<{ from: string; to: string }>(
    'select from_run_id as "from", to_run_id as "to" from dropped_events where from_run_id is not null',
  );
  for (const { from, to } of dropped.rows)
    await forgetQuarantined(db, 'run_id >= $1 and run_id < $2', [from, to], signal);
}

/** `which`: SQL over `quarantined_events` with the parameters `given`. */
async function forgetQuarantined(
  db: Queryable,
  which: string,
  given: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const gone = await db.query(
      `delete from quarantined_events where quarantine_id = any(array(
         select quarantine_id from quarantined_events where ${which} limit ${batchRows}))`,
      [...given],
    );
    if (gone.rowCount !== batchRows) return;
  }
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
  await forgetQuarantined(db, 'run_id = $1', [runId], signal);
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
