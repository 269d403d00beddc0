import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { EventGap, EventPage, ProducedEvent } from '../contract/events.js';
import { insertEvents, type StoredEvents } from './event-rows.js';
import type { Queryable, Transaction } from './pool.js';
import { eventColumns, parseEvent } from './records.js';

const logStateSchema = z.object({ last_seq: z.number(), terminal: z.boolean() });
const pageStateSchema = logStateSchema.extend({ next_run_id: z.string().nullable() });

/** What has a text in the transcript of its run (domain/transcript.ts; a test compares the two). */
const inTranscript = `(e.type in ('user_message', 'agent_message', 'error', 'approval_requested', 'approval_resolved', 'events_lost',
    'event_truncated', 'terminal_status')
  or (e.type in ('command_execution', 'file_change', 'tool_call') and e.payload ->> 'status' is distinct from 'inProgress')
  or (e.type = 'backend_status' and e.payload ->> 'phase' = 'attempt-ended'))`;

/**
 * A page of a run's log after `afterSeq`, of all events or of those of its transcript. `terminal` with `hasMore: false` means that nothing will
 * follow.
 *
 * @throws AgentRunError `not-found` for an unknown run.
 */
export async function readEvents(
  db: Queryable,
  runId: string,
  page: { readonly afterSeq: number; readonly limit: number; readonly transcript?: boolean },
): Promise<EventPage> {
  // The state is read first: an event that is stored in between belongs to the next page, never after `terminal`.
  const state = await db.query(
    `select g.last_seq, r.terminal_status is not null as terminal,
       (select n.run_id from runs n where n.session_id = r.session_id and n.session_turn > r.session_turn
         order by n.session_turn limit 1) as next_run_id
       from runs r join run_log g using (run_id) where r.run_id = $1`,
    [runId],
  );
  if (state.rows.length === 0) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  const { last_seq: lastSeq, terminal, next_run_id: nextRunId } = pageStateSchema.parse(state.rows[0]);
  const found = await db.query(
    `select ${eventColumns} from events e where e.run_id = $1 and e.seq > $2 and e.seq <= $3
        ${page.transcript === true ? `and ${inTranscript}` : ''} order by e.seq limit $4 + 1`,
    [runId, page.afterSeq, lastSeq, page.limit],
  );
  // One more than asked for: whether the rest of the log has another one is not to be guessed.
  const items = found.rows.slice(0, page.limit).map(parseEvent);
  return {
    items,
    runId,
    lastSeq,
    hasMore: found.rows.length > page.limit,
    terminal,
    nextRunId,
    gap: await gapAfter(db, runId, { ...page, lastSeq, first: items[0]?.seq }),
  };
}

/**
 * What of a log does not exist any more after `afterSeq`. Retention takes whole logs, and those of no partition from their beginning: what is missing is
 * missing before the first event that is there.
 */
async function gapAfter(
  db: Queryable,
  runId: string,
  page: {
    readonly afterSeq: number;
    readonly transcript?: boolean;
    readonly lastSeq: number;
    readonly first: number | undefined;
  },
): Promise<EventGap | null> {
  const from = page.afterSeq + 1;
  if (from > page.lastSeq || page.first === from) return null;
  let next = page.first;
  // What comes first in the transcript says nothing of what is before it.
  if (page.transcript === true) {
    const found = await db.query<{ seq: number }>(
      'select seq from events where run_id = $1 and seq >= $2 order by seq limit 1',
      [runId, from],
    );
    next = found.rows[0]?.seq;
  }
  const to = (next ?? page.lastSeq + 1) - 1;
  return to < from ? null : { from, to, reason: 'retention' };
}

/** The page of a session that never had a run. */
export const emptyEventPage: EventPage = {
  items: [],
  runId: null,
  lastSeq: 0,
  hasMore: false,
  terminal: false,
  nextRunId: null,
  gap: null,
};

/**
 * Appends events that the control plane writes. Takes the lock of the log's row; a caller
 * that also writes the session's or the run's row locks those first.
 *
 * @throws AgentRunError `conflict` after the terminal event, which is always the last.
 */
export async function appendEvents(
  tx: Transaction,
  runId: string,
  epoch: number,
  events: readonly ProducedEvent[],
): Promise<StoredEvents> {
  const locked = await tx.query(
    'select last_seq, closed_at is not null as terminal from run_log where run_id = $1 for update',
    [runId],
  );
  if (locked.rows.length === 0) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  const log = logStateSchema.parse(locked.rows[0]);
  if (log.terminal) throw new AgentRunError('conflict', `the log of run ${runId} is closed`);
  const stored = await insertEvents(tx, { runId, epoch, lastSeq: log.last_seq }, events);
  await tx.query(
    `update run_log set last_seq = $2, last_event_at = now(), last_xid = greatest(pg_current_xact_id(), last_xid)
      where run_id = $1`,
    [runId, stored.lastSeq],
  );
  return stored;
}
