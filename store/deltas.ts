import { z } from 'zod';
import type { DeltasAnswer, SendDeltas } from '../contract/deltas.js';
import type { EventType } from '../contract/events.js';
import type { Pool, Queryable } from './pool.js';
import { explainFence, type RunnerIdentity } from './runner-identity.js';
import { watchedSql } from './watchers.js';

/** How long a piece of text is kept, in seconds. */
export const deltaKeptSeconds = 60;
/** What is kept of one run in a minute; text that comes faster waits, and comes in fewer and larger pieces. */
const mostKept = { pieces: 1_500, bytes: 1_048_576 } as const;
/** Pieces of one run that one look reads. */
const largestLook = 500;
/** More events than a run has in a minute. A bound keeps Postgres from joining the whole log instead of following its key. */
const newestEvents = 10_000;

/** Events that are the whole text of an item: what was live of it is over. */
export const wholeTextTypes = ['agent_message', 'reasoning'] as const satisfies readonly EventType[];
/** Events after which nothing that was live before goes on. */
export const textEndTypes = ['attempt_started', 'terminal_status'] as const satisfies readonly EventType[];

const answerSchema = z.object({ accepted: z.number(), watched: z.boolean() });

/**
 * Keeps pieces of text for who watches the run. Nothing is kept when nobody does, when the attempt has ended, when the log has later events of this
 * runner than those that it had made when it said this, or when enough was kept in the last minute.
 *
 * @throws AgentRunError `fenced`.
 */
export async function insertDeltas(
  pool: Pool,
  runner: RunnerIdentity,
  { after, deltas }: SendDeltas,
): Promise<DeltasAnswer> {
  const found = await pool.query(
    `with held as (
       select g.last_seq, ${watchedSql('r.run_id')} as watched,
         a.ended_at is null and (g.epoch <> $2 or g.last_producer_seq <= $4::bigint) as current,
         (select count(*) < $8 and coalesce(sum(octet_length(text)), 0) < $9 from (
            select text from event_deltas where run_id = $1 and at > now() - $10::int * interval '1 second' limit $8) kept) as has_room
       from runs r join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch join run_log g on g.run_id = r.run_id
       where r.run_id = $1 and r.current_epoch = $2 and r.terminal_status is null and a.claimed_by = $3),
     stored as (
       insert into event_deltas (run_id, item_id, text_offset, text, log_seq)
       select $1, d.item_id, d.text_offset, d.text, h.last_seq
         from held h, unnest($5::text[], $6::int[], $7::text[]) with ordinality as d(item_id, text_offset, text, position)
        where h.watched and h.current and h.has_room order by d.position
       returning 1)
     select h.watched, (select count(*)::int from stored) as accepted from held h`,
    [
      runner.runId,
      runner.epoch,
      runner.runnerId,
      after,
      deltas.map(({ itemId }) => itemId),
      deltas.map(({ offset }) => offset),
      deltas.map(({ text }) => text),
      mostKept.pieces,
      mostKept.bytes,
      deltaKeptSeconds,
    ],
  );
  if (found.rows.length === 0) throw await explainFence(pool, runner);
  return answerSchema.parse(found.rows[0]);
}

const rowSchema = z.object({
  runId: z.string(),
  deltaId: z.number(),
  itemId: z.string(),
  offset: z.number(),
  text: z.string(),
  logSeq: z.number(),
  over: z.boolean(),
});
/** A piece of text as it is kept. `logSeq`: the last event when it was written; `over`: its item, or its attempt, has ended since. */
export type StoredDelta = z.infer<typeof rowSchema>;

/** What was found of some runs. */
export interface DeltaPage {
  readonly pieces: readonly StoredDelta[];
  /** Runs that may have more. */
  readonly unfinished: readonly string[];
}

/**
 * The pieces of some runs after those that are known of each (`deltaId`, 0 at first), in order, not older than a minute; where the ids of a run begin anew,
 * as after a failover, from its first. One statement.
 *
 * @param bytes of text are read of each, and up to one piece more.
 */
export async function readDeltas(
  db: Queryable,
  runs: readonly { readonly runId: string; readonly after: number }[],
  bytes: number,
): Promise<DeltaPage> {
  const found = await db.query(
    `with page as (
       select d.* from unnest($1::text[], $2::bigint[]) as w(run_id, after)
         cross join lateral (select delta_id as highest from event_deltas e where e.run_id = w.run_id order by delta_id desc limit 1) newest
         cross join lateral (
           select first.*, sum(octet_length(text)) over (order by delta_id rows between unbounded preceding and 1 preceding) as bytes_before from (
             select * from event_deltas e where e.run_id = w.run_id and e.delta_id > case when highest < w.after then 0 else w.after end
                and e.at > now() - $3::int * interval '1 second' order by e.delta_id limit $4) first) d
        where coalesce(d.bytes_before, 0) < $8),
     since as materialized (select run_id, min(log_seq) as seq from page group by run_id),
     ends as materialized (
       select s.run_id, e.seq, case when e.type = any($5::text[]) then e.payload ->> 'itemId' end as item_id
         from since s cross join lateral (
           select seq, type, payload from events where run_id = s.run_id and seq > s.seq order by seq limit $7) e
        where e.type = any($5::text[] || $6::text[]))
     select p.run_id as "runId", p.delta_id as "deltaId", p.item_id as "itemId", p.text_offset as offset, p.text, p.log_seq as "logSeq",
       exists (select 1 from ends x where x.run_id = p.run_id and x.seq > p.log_seq and (x.item_id is null or x.item_id = p.item_id)) as over
     from page p order by p.delta_id`,
    [
      runs.map(({ runId }) => runId),
      runs.map(({ after }) => after),
      deltaKeptSeconds,
      largestLook,
      wholeTextTypes,
      textEndTypes,
      newestEvents,
      bytes,
    ],
  );
  const pieces = found.rows.map((row) => rowSchema.parse(row));
  const read = new Map<string, { pieces: number; bytes: number }>();
  for (const { runId, text } of pieces) {
    const before = read.get(runId) ?? { pieces: 0, bytes: 0 };
    read.set(runId, { pieces: before.pieces + 1, bytes: before.bytes + Buffer.byteLength(text) });
  }
  const unfinished = [...read].filter(([, run]) => run.pieces >= largestLook || run.bytes >= bytes);
  return { pieces, unfinished: unfinished.map(([runId]) => runId) };
}

/** Removes what nobody can be sent any more. */
export async function trimDeltas(db: Queryable): Promise<void> {
  await db.query(`delete from event_deltas where at < now() - $1::int * interval '1 second'`, [
    deltaKeptSeconds,
  ]);
}
