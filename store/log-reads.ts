import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import { eventText, eventTextSchema } from './event-text.js';
import type { Queryable } from './pool.js';
import { isoTime, runFrom } from './records.js';

/** A stored event as streams carry it: its JSON is made from the text that Postgres holds, never parsed on the way. */
export interface LogEvent {
  readonly seq: number;
  /** As in `GET events`, on one line. */
  readonly json: string;
}

/** Where a log stands: its last event, and whether that is the last for ever. */
export interface LogState {
  readonly lastSeq: number;
  readonly isClosed: boolean;
  readonly status: string;
  readonly terminalStatus: string | null;
}

/** A piece of a run's log after some event, and where the log stood at that moment: nothing can follow what was read of a closed one. */
export interface LogRead extends LogState {
  readonly events: readonly LogEvent[];
  /** What is missing among the events up to here does not exist any more. Below `lastSeq`: there is more to read. */
  readonly upTo: number;
}

/** How much of one log is read at once. A single event may be larger. */
export interface LogReadLimits {
  readonly events: number;
  /** Of JSON, in UTF-16 units. Postgres makes no more text of what it stores, which is often compressed to a hundredth, than for this and one event. */
  readonly bytes: number;
}

const stateSchema = z.object({
  last_seq: z.number(),
  closed: z.boolean(),
  status: z.string(),
  terminal_status: z.string().nullable(),
});
const runStateSchema = stateSchema.extend({ run_id: z.string() });
/** Of a run without new events there is one row, without an event. */
const readRowSchema = z.union([
  runStateSchema.extend({
    ...eventTextSchema.shape,
    /** Postgres looked for no further event. */
    is_full: z.boolean(),
  }),
  runStateSchema.extend({ seq: z.null() }),
]);
type ReadRow = z.infer<typeof readRowSchema>;

/**
 * The logs of many runs, each after the event that its reader has, in one statement: state and events of a run are of one moment, so that an event never
 * appears after its log was read as closed. A run that does not exist, or whose session is being deleted, is not in the answer.
 */
export async function readLogs(
  db: Queryable,
  cursors: readonly { readonly runId: string; readonly afterSeq: number }[],
  limits: LogReadLimits,
): Promise<ReadonlyMap<string, LogRead>> {
  // Event after event, each by its key, so that it ends as soon as there is enough text: how much a compressed event unpacks to is known only then.
  const nextEvent = (after: string) =>
    `(select seq, event_id, epoch, type, at, payload::text as payload, raw::text as raw from events
       where run_id = w.run_id and seq > ${after} order by seq limit 1)`;
  const textLength = 'octet_length(e.payload) + coalesce(octet_length(e.raw), 0)';
  const found = await db.query(
    `select w.run_id, g.last_seq, g.closed_at is not null as closed, r.status, r.terminal_status,
       e.seq, e.count >= $3 or e.size >= $4 as is_full, e.event_id, e.epoch, e.type, ${isoTime('e.at')} as at, e.payload, e.raw
     from unnest($1::text[], $2::bigint[]) with ordinality as w(run_id, after_seq, position)
     join runs r on r.run_id = w.run_id
     join sessions s on s.session_id = r.session_id and s.deleted_at is null
     join run_log g on g.run_id = w.run_id
     left join lateral (
       with recursive page as (
         select e.*, 1 as count, ${textLength} as size from ${nextEvent('w.after_seq')} e
         union all
         select e.*, page.count + 1, page.size + ${textLength} from page cross join lateral ${nextEvent('page.seq')} e
          where page.count < $3 and page.size < $4)
       select * from page) e on true
     order by w.position, e.seq`,
    [cursors.map(({ runId }) => runId), cursors.map(({ afterSeq }) => afterSeq), limits.events, limits.bytes],
  );
  const rowsByRun = new Map<string, ReadRow[]>();
  for (const row of z.array(readRowSchema).parse(found.rows)) {
    const rows = rowsByRun.get(row.run_id);
    if (rows === undefined) rowsByRun.set(row.run_id, [row]);
    else rows.push(row);
  }
  return new Map([...rowsByRun].map(([runId, rows]) => [runId, logRead(rows, limits)]));
}

function logRead(rows: readonly ReadRow[], limits: LogReadLimits): LogRead {
  const [state] = rows;
  if (state === undefined) throw new RangeError('a log that was read has a row');
  const events: LogEvent[] = [];
  let size = 0;
  let upTo = state.last_seq;
  for (const [index, row] of rows.entries()) {
    if (row.seq === null) break;
    const json = eventText(row);
    size += json.length;
    if (events.length > 0 && size > limits.bytes) break;
    events.push({ seq: row.seq, json });
    upTo = index < rows.length - 1 || row.is_full ? row.seq : state.last_seq;
  }
  return { ...stateOf(state), events, upTo };
}

const stateOf = (row: z.infer<typeof stateSchema>): LogState => ({
  lastSeq: row.last_seq,
  isClosed: row.closed,
  status: row.status,
  terminalStatus: row.terminal_status,
});

/**
 * Where a run's log stands.
 *
 * @throws AgentRunError `not-found`, also for a run of another tenant.
 */
export async function readLogState(db: Queryable, runId: string, tenantId?: string): Promise<LogState> {
  const found = await db.query(
    `select g.last_seq, g.closed_at is not null as closed, r.status, r.terminal_status
       from ${runFrom} join run_log g on g.run_id = r.run_id
      where r.run_id = $1 and ($2::text is null or r.tenant_id = $2)`,
    [runId, tenantId ?? null],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  return stateOf(stateSchema.parse(found.rows[0]));
}
