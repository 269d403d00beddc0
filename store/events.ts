import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { EventPage, EventType, ProducedEvent, RunEvent } from '../contract/events.js';
import { keptEvent } from '../domain/runner-evidence.js';
import { noteProgress } from './attempt-progress.js';
import { deliveriesIn, recordDeliveries } from './deliveries.js';
import { insertEvents, type StoredEvents } from './event-rows.js';
import { type Pool, type Queryable, type Transaction, withTransaction } from './pool.js';
import { eventColumns, parseEvent } from './records.js';
import { recordRequestChanges, requestChangesIn } from './request-events.js';
import { lockRunForRunner, type RunnerIdentity } from './runner-identity.js';

const logStateSchema = z.object({ last_seq: z.number(), terminal: z.boolean() });
const pageStateSchema = logStateSchema.extend({ next_run_id: z.string().nullable() });

/**
 * A page of a run's log after `afterSeq`, of all or some types. `terminal` with `hasMore: false` means that nothing will follow.
 *
 * @throws AgentRunError `not-found` for an unknown run.
 */
export async function readEvents(
  db: Queryable,
  runId: string,
  page: { readonly afterSeq: number; readonly limit: number; readonly types?: readonly EventType[] },
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
        and ($5::text[] is null or e.type = any($5)) order by e.seq limit $4`,
    [runId, page.afterSeq, lastSeq, page.limit, page.types ?? null],
  );
  const items = found.rows.map(parseEvent);
  return {
    items,
    runId,
    lastSeq,
    hasMore: items.length === page.limit && (items.at(-1)?.seq ?? 0) < lastSeq,
    terminal,
    nextRunId,
  };
}

/** The page of a session that never had a run. */
export const emptyEventPage: EventPage = {
  items: [],
  runId: null,
  lastSeq: 0,
  hasMore: false,
  terminal: false,
  nextRunId: null,
};

/**
 * Appends events that the control plane or an old runner writes without a sequence of its own. Takes the lock of the log's row; a caller
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
  const stored = await insertEvents(
    tx,
    { runId, epoch, lastSeq: log.last_seq },
    events.map((event) => ({ event, producerSeq: null })),
  );
  await tx.query('update run_log set last_seq = $2, last_event_at = now() where run_id = $1', [
    runId,
    stored.lastSeq,
  ]);
  return stored;
}

/**
 * One event of a runner that counts none (contract.md 5.3): not exactly once.
 *
 * @throws AgentRunError `fenced`.
 */
export async function appendRunnerEvent(
  pool: Pool,
  runner: RunnerIdentity,
  event: ProducedEvent,
): Promise<RunEvent> {
  return withTransaction(pool, async (tx) => {
    await lockRunForRunner(tx, runner);
    const { lastSeq } = await appendEvents(tx, runner.runId, runner.epoch, [keptEvent(event)]);
    await noteProgress(tx, runner, [event]);
    const deliveries = deliveriesIn([event]);
    if (deliveries.length > 0) await recordDeliveries(tx, runner.runId, deliveries);
    const requests = requestChangesIn([event]);
    if (requests !== null) await recordRequestChanges(tx, runner.runId, runner.epoch, requests);
    const stored = await tx.query(`select ${eventColumns} from events e where e.run_id = $1 and e.seq = $2`, [
      runner.runId,
      lastSeq,
    ]);
    return parseEvent(stored.rows[0]);
  });
}
