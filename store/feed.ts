import { z } from 'zod';
import { eventText, eventTextSchema } from './event-text.js';
import { type FeedPosition, feedBefore, feedBehind, feedStart } from './feed-position.js';
import type { Queryable } from './pool.js';
import { isoTime } from './records.js';

/** An event of the feed. Its JSON is made from the text that Postgres holds, never parsed on the way. */
export interface FeedEntry {
  readonly position: FeedPosition;
  readonly tenantId: string;
  /** A FeedEvent (contract/streams.ts), on one line. */
  readonly json: string;
}

/** A piece of the feed after some place. */
export interface FeedPage {
  readonly entries: readonly FeedEntry[];
  /** Everything up to here was read. It may be behind the last entry, or name an event of another tenant. */
  readonly upTo: FeedPosition;
  /** Nothing more was there to be read. */
  readonly isEnd: boolean;
  /** As {@link FeedEdges}, of the moment of this page. */
  readonly horizon: FeedPosition;
  /** Events of transactions up to this one were dropped by retention after the place where the reader is, perhaps none of its tenant; null: none. */
  readonly droppedXid: string | null;
}

/** What is read at once. A single event may be larger. Postgres may read more than it answers, by what compressed values grow to: about elevenfold at worst. */
export interface FeedLimits {
  /** Events looked at, whoever they belong to: this bounds the work of a page. */
  readonly events: number;
  /** Of JSON, in UTF-16 units. */
  readonly bytes: number;
}

const edgesSchema = z.object({ last: z.string().nullable(), horizon: z.string() });

/** Where the feed ends now. */
export interface FeedEdges {
  /** Behind the last event that can be read. */
  readonly end: FeedPosition;
  /** No event behind this place can have been given out: the oldest transaction that is still open, in any database of the cluster. */
  readonly horizon: FeedPosition;
}

/**
 * The end goes by the last event and not by the last transaction: after a crash of the server, numbers of transactions that left nothing behind are given
 * again, and a reader who stood behind them would miss what they write.
 */
export async function readFeedEdges(db: Queryable): Promise<FeedEdges> {
  const found = await db.query(
    `select pg_snapshot_xmin(pg_current_snapshot())::text as horizon, greatest(
       (select xid from events where xid < pg_snapshot_xmin(pg_current_snapshot()) order by xid desc limit 1),
       (select last_xid from dropped_events where last_xid < pg_snapshot_xmin(pg_current_snapshot()) order by last_xid desc limit 1))::text as last`,
  );
  const { last, horizon } = edgesSchema.parse(found.rows[0]);
  return { end: last === null ? feedStart : feedBehind(last), horizon: feedBefore(horizon) };
}

/** How often its stored size a compressed value counts: usual is three to five, the most that Postgres can do is about ninety. */
const compressedCounts = 8;
const stateSchema = z.object({
  horizon: z.string(),
  dropped: z.string().nullable(),
  xid: z.string().nullable(),
});
const scannedSchema = z.object({
  xid: z.string(),
  run_id: z.string(),
  seq: z.number(),
  scanned: z.number(),
  /** Null: the event is none of the reader's, and nothing of it was read. */
  tenant_id: z.string().nullable(),
});
const eventSchema = scannedSchema.extend({
  ...eventTextSchema.shape,
  tenant_id: z.string(),
  project_id: z.string(),
  session_id: z.string(),
});

/**
 * The events after a place, in the order (transaction, run, seq), of transactions that are older than every open one: commits happen out of order, and what
 * is read so is never followed by something that belongs before it. Runs of sessions that are being deleted are left out.
 *
 * Events, edge and what retention has dropped are of one moment: a drop waits for the locks that a statement takes before its snapshot.
 */
export async function readFeed(db: Queryable, from: FeedReader, limits: FeedLimits): Promise<FeedPage> {
  const found = await db.query(feedStatement(from, limits));
  const state = stateSchema.parse(found.rows[0]);
  // Of an empty page there is one row, without an event.
  const rows = state.xid === null ? [] : found.rows;
  const entries: FeedEntry[] = [];
  let size = 0;
  let taken = 0;
  let last: z.infer<typeof scannedSchema> | undefined;
  for (const row of rows) {
    const scanned = scannedSchema.parse(row);
    if (scanned.tenant_id !== null) {
      const entry = entryOf(row);
      size += entry.json.length;
      if (entries.length > 0 && size > limits.bytes) break;
      entries.push(entry);
    }
    taken += 1;
    last = scanned;
  }
  const isCut = last !== undefined && (taken < last.scanned || last.scanned === limits.events);
  return {
    entries,
    upTo: last === undefined ? from.after : isCut ? positionOf(last) : feedBehind(last.xid),
    isEnd: !isCut,
    horizon: feedBefore(state.horizon),
    droppedXid: state.dropped,
  };
}

/** Whose feed is read, and what has been read of it. */
export interface FeedReader {
  readonly after: FeedPosition;
  /** Undefined: every tenant. */
  readonly tenantId?: string | undefined;
}

function feedStatement({ after, tenantId }: FeedReader, limits: FeedLimits) {
  // The innermost query takes its rows from the indexes by transaction, one walk for each partition; sizes are of what is stored, so that nothing is
  // unpacked only to be measured; what is answered is measured again. The limit on what has one row anyway keeps Postgres from reading all runs to join them.
  const text = `
    select state.horizon::text, state.dropped::text, page.xid::text, page.run_id, page.seq, page.scanned, page.tenant_id, page.project_id, page.session_id,
      page.event_id, page.epoch, page.type, ${isoTime('page.at')} as at,
      case when page.tenant_id is not null then page.payload::text end as payload,
      case when page.tenant_id is not null then page.raw::text end as raw
    from (select pg_snapshot_xmin(pg_current_snapshot()) as horizon,
            (select last_xid from dropped_events where (last_xid, last_run_id, last_seq) > ($1::xid8, $2, $3::bigint)
              order by last_xid desc limit 1) as dropped) state
    left join lateral (
      select owned.*, count(*) over () as scanned,
        sum(bytes) over (order by xid, run_id, seq rows between unbounded preceding and 1 preceding) as bytes_before
      from (
        select e.*, r.tenant_id, r.project_id, r.session_id,
          case when r.tenant_id is null then 0 else ${sizeOf('e.payload')} + ${sizeOf('e.raw')} end as bytes
        from (select * from events where (xid, run_id, seq) > ($1::xid8, $2, $3::bigint) and xid < state.horizon
               order by xid, run_id, seq limit $4) e
        left join lateral (
          select r.tenant_id, r.project_id, r.session_id from runs r join sessions s on s.session_id = r.session_id and s.deleted_at is null
           where r.run_id = e.run_id and ($6::text is null or r.tenant_id = $6) limit 1) r on true) owned
    ) page on coalesce(page.bytes_before, 0) < $5
    order by page.xid, page.run_id, page.seq`;
  return {
    text,
    values: [after.xid, after.runId, after.seq, limits.events, limits.bytes, tenantId ?? null],
  };
}

/** SQL: about how large a value is as text, without unpacking it. */
const sizeOf = (value: string) =>
  `coalesce(pg_column_size(${value}) * case when pg_column_compression(${value}) is null then 1 else ${compressedCounts} end, 0)`;

const positionOf = (row: z.infer<typeof scannedSchema>): FeedPosition => ({
  xid: row.xid,
  runId: row.run_id,
  seq: row.seq,
});

function entryOf(row: unknown): FeedEntry {
  const event = eventSchema.parse(row);
  const owner = { tenantId: event.tenant_id, projectId: event.project_id, sessionId: event.session_id };
  return { position: positionOf(event), tenantId: owner.tenantId, json: eventText(event, owner) };
}
