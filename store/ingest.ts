import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { ProducedEvent } from '../contract/events.js';
import type { IngestAnswer, IngestLine } from '../contract/ingest.js';
import { keptEvent } from '../domain/runner-evidence.js';
import { noteProgress } from './attempt-progress.js';
import { deliveriesIn, recordDeliveries, threadIdIn } from './deliveries.js';
import { insertEvents } from './event-rows.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { quarantineLines } from './quarantine.js';
import { recordRequestChanges, recordTold, requestChangesIn } from './request-events.js';
import { lockRunForRunner, type RunnerIdentity } from './runner-identity.js';

const logRowSchema = z.object({
  last_seq: z.number(),
  log_epoch: z.number(),
  last_producer_seq: z.number(),
  current_epoch: z.number(),
  terminal: z.boolean(),
  mine: z.boolean(),
});
type LogRow = z.infer<typeof logRowSchema>;

/**
 * How a batch ended. `refusal` is thrown by the caller after the commit, because what was accepted or quarantined before it stays.
 */
export interface IngestResult {
  readonly answer: IngestAnswer;
  readonly refusal: AgentRunError | null;
  /** How many lines are new in quarantine. */
  readonly quarantined: number;
}

/**
 * Appends a runner's batch to its run's log, exactly once (requirements.md A.1.a 6): the next expected sequence is stored, one at or below
 * the accepted is a duplicate, a gap ends the batch with `conflict`. A fenced or late batch goes to quarantine and answers `fenced` or
 * `conflict` (architecture.md 5). Every answer and every error carries `lastAcceptedSeq`. No lines: a probe that changes nothing.
 *
 * Locks in the order run, log: the run only when a line says that a command was delivered, a thread opened, or the agent asks something.
 */
export async function ingest(
  pool: Pool,
  runner: RunnerIdentity,
  lines: readonly IngestLine[],
): Promise<IngestResult> {
  return withTransaction(pool, async (tx) => {
    const told = sideEffectsOf(lines.map((line) => line.event));
    if (told !== null)
      await tx.query('select 1 from runs where run_id = $1 for no key update', [runner.runId]);
    const log = await lockLog(tx, runner);
    const accepted = log.log_epoch === runner.epoch ? log.last_producer_seq : 0;
    if (log.terminal || log.current_epoch !== runner.epoch || !log.mine) {
      if (log.mine) await recordTold(tx, runner.runId, told?.requests?.resolved ?? []);
      return quarantine(tx, runner, lines, log, accepted);
    }
    const sorted = sortLines(lines, accepted);
    if (sorted.fresh.length > 0 && !(await takeSequence(tx, runner, sorted.fresh))) {
      return quarantine(tx, runner, lines, await lockLog(tx, runner), accepted);
    }
    // Also for lines that were stored before: what the thread's id says does not change.
    if (told !== null && told.threadId !== null) {
      await tx.query('update runs set thread_id = $2 where run_id = $1', [runner.runId, told.threadId]);
    }
    if (sorted.fresh.length > 0) await store(tx, runner, log, sorted.fresh);
    const answer: IngestAnswer = {
      accepted: sorted.fresh.length,
      duplicate: sorted.duplicate,
      lastAcceptedSeq: accepted + sorted.fresh.length,
    };
    const refusal =
      sorted.gapAt === null
        ? null
        : new AgentRunError(
            'conflict',
            `sequence ${sorted.gapAt} after ${answer.lastAcceptedSeq}: events are missing in between`,
            {
              details: { ...answer },
            },
          );
    return { answer, refusal, quarantined: 0 };
  });
}

async function lockLog(tx: Transaction, runner: RunnerIdentity): Promise<LogRow> {
  const locked = await tx.query('select 1 from run_log where run_id = $1 for update', [runner.runId]);
  if (locked.rows.length === 0) throw new AgentRunError('not-found', `run ${runner.runId} does not exist`);
  // A statement of its own: after a wait for the lock, a join would answer the run as it was before the wait.
  const found = await tx.query(
    `select g.last_seq, g.epoch as log_epoch, g.last_producer_seq, r.current_epoch,
       r.terminal_status is not null as terminal, coalesce(a.claimed_by = $3, false) as mine
     from run_log g join runs r using (run_id)
     left join attempts a on a.run_id = g.run_id and a.epoch = $2
     where g.run_id = $1`,
    [runner.runId, runner.epoch, runner.runnerId],
  );
  return logRowSchema.parse(found.rows[0]);
}

/** What of a batch is new, what was stored before, and the first sequence after a gap. */
function sortLines(lines: readonly IngestLine[], accepted: number) {
  const fresh: IngestLine[] = [];
  let duplicate = 0;
  for (const line of lines) {
    const next = accepted + fresh.length + 1;
    if (line.seq > next) return { fresh, duplicate, gapAt: line.seq };
    if (line.seq < next) duplicate += 1;
    else fresh.push(line);
  }
  return { fresh, duplicate, gapAt: null };
}

/** What events change beside the log, under the lock of the run's row; null for most batches. */
function sideEffectsOf(events: readonly ProducedEvent[]) {
  const deliveries = deliveriesIn(events);
  const threadId = threadIdIn(events);
  const requests = requestChangesIn(events);
  return deliveries.length > 0 || threadId !== null || requests !== null
    ? { deliveries, threadId, requests }
    : null;
}

/**
 * Moves the log's counters on, in a statement that checks the fence itself: an attempt that was replaced between the look and this writes nothing.
 * False then.
 */
async function takeSequence(
  tx: Transaction,
  runner: RunnerIdentity,
  fresh: readonly IngestLine[],
): Promise<boolean> {
  const taken = await tx.query(
    `update run_log g set last_seq = g.last_seq + $4, epoch = $2, last_producer_seq = $5, last_event_at = now()
       from runs r join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch
      where g.run_id = $1 and r.run_id = $1 and r.current_epoch = $2 and r.terminal_status is null and a.claimed_by = $3`,
    [runner.runId, runner.epoch, runner.runnerId, fresh.length, fresh.at(-1)?.seq ?? 0],
  );
  return taken.rowCount === 1;
}

async function store(
  tx: Transaction,
  runner: RunnerIdentity,
  log: LogRow,
  fresh: readonly IngestLine[],
): Promise<void> {
  const events = fresh.map((line) => line.event);
  await insertEvents(
    tx,
    { runId: runner.runId, epoch: runner.epoch, lastSeq: log.last_seq },
    fresh.map((line) => ({ event: keptEvent(line.event), producerSeq: line.seq })),
  );
  await noteProgress(tx, runner, events);
  const told = sideEffectsOf(events);
  if (told === null) return;
  if (told.deliveries.length > 0) await recordDeliveries(tx, runner.runId, told.deliveries);
  if (told.requests !== null) await recordRequestChanges(tx, runner.runId, runner.epoch, told.requests);
}

/**
 * Keeps what an earlier attempt had accepted from its agent and could not send, uploaded by the runner that holds the run now (architecture.md 5):
 * all of it is late, none of it is lost. Of its effects one still counts: an answer that its agent was told is not given out again. `accepted` counts what is new, `duplicate` what was in the log or in quarantine.
 *
 * @throws AgentRunError `fenced`; `schema-invalid` when the epoch is not an earlier one.
 */
export async function ingestSpilled(
  pool: Pool,
  runner: RunnerIdentity,
  epoch: number,
  lines: readonly IngestLine[],
): Promise<IngestAnswer> {
  if (epoch >= runner.epoch) {
    throw new AgentRunError(
      'schema-invalid',
      `query.spilledEpoch: expected an epoch before ${runner.epoch}, the runner's own`,
    );
  }
  return withTransaction(pool, async (tx) => {
    await lockRunForRunner(tx, runner);
    const told = requestChangesIn(lines.map((line) => line.event));
    await recordTold(tx, runner.runId, told?.resolved ?? []);
    await lockLog(tx, runner);
    const accepted = await quarantineLines(tx, { runId: runner.runId, epoch }, 'fenced', lines);
    const lastAcceptedSeq = lines.reduce((highest, line) => Math.max(highest, line.seq), 0);
    return { accepted, duplicate: lines.length - accepted, lastAcceptedSeq };
  });
}

async function quarantine(
  tx: Transaction,
  runner: RunnerIdentity,
  lines: readonly IngestLine[],
  log: LogRow,
  accepted: number,
): Promise<IngestResult> {
  const quarantined = await quarantineLines(tx, runner, log.terminal ? 'after-terminal' : 'fenced', lines);
  const answer: IngestAnswer = { accepted: 0, duplicate: 0, lastAcceptedSeq: accepted };
  const refusal = log.terminal
    ? new AgentRunError('conflict', `run ${runner.runId} has ended; late events are kept in quarantine`, {
        details: { ...answer },
      })
    : new AgentRunError('fenced', `attempt ${runner.epoch} of run ${runner.runId} is not current`, {
        details: { ...answer },
      });
  return { answer, refusal, quarantined };
}
