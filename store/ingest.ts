import pg from 'pg';
import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { ProducedEvent } from '../contract/events.js';
import type { IngestAnswer, IngestConflict } from '../contract/ingest.js';
import { appendBatch, type ReceivedLine } from './append-batch.js';
import { deliveriesIn, recordDeliveries, threadIdIn } from './deliveries.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { type LateReason, quarantineLines } from './quarantine.js';
import { recordRequestChanges, recordTold, requestChangesIn } from './request-events.js';
import { lockRunForRunner, type RunnerIdentity } from './runner-identity.js';

/** What a runner sends in one request; `finalSeq` of its completion line, null without one. */
export interface IngestBatch {
  readonly lines: readonly ReceivedLine[];
  readonly finalSeq: number | null;
}

/**
 * How a batch ended. `refusal` is thrown by the caller after the commit, because what was accepted or quarantined before it stays.
 */
export interface IngestResult {
  readonly answer: IngestAnswer;
  readonly refusal: AgentRunError | null;
  /** How many lines came late and are new: in quarantine, or counted beyond its limit. */
  readonly quarantined: number;
}

/**
 * Appends a runner's batch to its run's log, exactly once (requirements.md A.1.a 6): the next expected sequence is stored, one at or below
 * the accepted is a duplicate, a gap ends the batch with `conflict`. A fenced or late batch goes to quarantine and answers `fenced` or
 * `conflict` (architecture.md 5). Every answer and every error carries `lastAcceptedSeq`. No lines: a probe that changes nothing.
 *
 * Nearly every batch is the one that is expected and is stored by one statement. What that does not take is looked at under the lock of the log's row.
 */
export async function ingest(pool: Pool, runner: RunnerIdentity, batch: IngestBatch): Promise<IngestResult> {
  try {
    return await ingestOnce(pool, runner, batch);
  } catch (error) {
    if (!isDataException(error)) throw error;
    // JSON may say a number that a double has no trouble with and Postgres has: then what was read of it is stored, not its text.
    return ingestOnce(pool, runner, {
      ...batch,
      lines: batch.lines.map(({ seq, event }) => ({ seq, event })),
    });
  }
}

async function ingestOnce(pool: Pool, runner: RunnerIdentity, batch: IngestBatch): Promise<IngestResult> {
  const { lines, finalSeq } = batch;
  const effects = sideEffectsOf(lines.map(({ event }) => event));
  if (effects === null && finalSeq === null && followEachOther(lines)) {
    if (await appendBatch(pool, runner, lines))
      return { answer: acceptedAll(lines), refusal: null, quarantined: 0 };
  }
  return withTransaction(pool, (tx) => ingestUnderLock(tx, runner, batch, effects));
}

const isDataException = (error: unknown) =>
  error instanceof pg.DatabaseError && error.code?.startsWith('22') === true;

/** Locks in the order run, log: the run only when a line says that a command was delivered, a thread opened, or the agent asks something. */
async function ingestUnderLock(
  tx: Transaction,
  runner: RunnerIdentity,
  { lines, finalSeq }: IngestBatch,
  effects: SideEffects | null,
): Promise<IngestResult> {
  if (effects !== null)
    await tx.query('select 1 from runs where run_id = $1 for no key update', [runner.runId]);
  const log = await lockLog(tx, runner);
  const accepted = acceptedSeq(log, runner);
  const sorted = sortLines(lines, accepted);
  const isRepeatedEnd = log.completed && sorted.fresh.length === 0 && finalSeq === accepted;
  if (isCurrent(log, runner) && isRepeatedEnd)
    return { ...nothing(sorted.duplicate, accepted), refusal: null };
  const late = lateReason(log, runner, lines.length);
  if (late !== null) {
    if (log.mine) await recordTold(tx, runner.runId, effects?.requests?.resolved ?? []);
    return quarantine(tx, runner, lines, late, accepted);
  }
  if (sorted.fresh.length > 0) await appendUnderLock(tx, runner, sorted.fresh);
  // Also for lines that were stored before: what the thread's id says does not change.
  if (effects !== null && effects.threadId !== null) {
    await tx.query('update runs set thread_id = $2 where run_id = $1', [runner.runId, effects.threadId]);
  }
  const answer: IngestAnswer = {
    accepted: sorted.fresh.length,
    duplicate: sorted.duplicate,
    lastAcceptedSeq: accepted + sorted.fresh.length,
  };
  if (sorted.gapAt !== null) return { answer, refusal: gap(sorted.gapAt, answer), quarantined: 0 };
  if (finalSeq !== null && finalSeq !== answer.lastAcceptedSeq)
    return { answer, refusal: completionMismatch(finalSeq, answer), quarantined: 0 };
  if (finalSeq !== null) {
    await tx.query('update run_log set completed_epoch = $2 where run_id = $1', [runner.runId, runner.epoch]);
  }
  return { answer, refusal: null, quarantined: 0 };
}

/** Appends under the locks of the caller, with what the events change beside the log. */
async function appendUnderLock(
  tx: Transaction,
  runner: RunnerIdentity,
  fresh: readonly ReceivedLine[],
): Promise<void> {
  if (!(await appendBatch(tx, runner, fresh)))
    throw new Error(`the log of run ${runner.runId} does not know the runner that its attempt names`);
  const effects = sideEffectsOf(fresh.map(({ event }) => event));
  if (effects === null) return;
  if (effects.deliveries.length > 0) await recordDeliveries(tx, runner.runId, effects.deliveries);
  if (effects.requests !== null) await recordRequestChanges(tx, runner.runId, runner.epoch, effects.requests);
}

/**
 * Appends one event of a runner that counts none (contract.md 5.3) as the next of its epoch. The caller holds the lock of the run's row. A late one goes
 * to quarantine, each time anew, for it has no number by which it could be known.
 */
export async function ingestUncounted(
  tx: Transaction,
  runner: RunnerIdentity,
  event: ProducedEvent,
): Promise<IngestResult> {
  const log = await lockLog(tx, runner);
  const accepted = acceptedSeq(log, runner);
  const late = lateReason(log, runner, 1);
  const line = { seq: accepted + 1, event };
  if (late !== null) return quarantine(tx, runner, [{ ...line, seq: null }], late, accepted);
  await appendUnderLock(tx, runner, [line]);
  return { answer: acceptedAll([line]), refusal: null, quarantined: 0 };
}

const logRowSchema = z.object({
  log_epoch: z.number(),
  last_producer_seq: z.number(),
  current_epoch: z.number(),
  terminal: z.boolean(),
  completed: z.boolean(),
  mine: z.boolean(),
});
type LogRow = z.infer<typeof logRowSchema>;

async function lockLog(tx: Transaction, runner: RunnerIdentity): Promise<LogRow> {
  const locked = await tx.query('select 1 from run_log where run_id = $1 for update', [runner.runId]);
  if (locked.rows.length === 0) throw new AgentRunError('not-found', `run ${runner.runId} does not exist`);
  // A statement of its own: after a wait for the lock, a join would answer the run as it was before the wait.
  const found = await tx.query(
    `select g.epoch as log_epoch, g.last_producer_seq, r.current_epoch, r.terminal_status is not null as terminal,
       coalesce(g.completed_epoch = $2, false) as completed, coalesce(a.claimed_by = $3, false) as mine
     from run_log g join runs r using (run_id)
     left join attempts a on a.run_id = g.run_id and a.epoch = $2
     where g.run_id = $1`,
    [runner.runId, runner.epoch, runner.runnerId],
  );
  return logRowSchema.parse(found.rows[0]);
}

const acceptedSeq = (log: LogRow, { epoch }: RunnerIdentity) =>
  log.log_epoch === epoch ? log.last_producer_seq : 0;
const isCurrent = (log: LogRow, { epoch }: RunnerIdentity) => log.mine && log.current_epoch === epoch;

/** Why nothing is taken, if so. While the run goes on a probe is always answered. */
function lateReason(log: LogRow, runner: RunnerIdentity, lines: number): LateReason | null {
  if (log.terminal) return 'after-terminal';
  if (!isCurrent(log, runner)) return 'fenced';
  return log.completed && lines > 0 ? 'completed' : null;
}

/** What of a batch is new, what was stored before, and the first sequence after a gap. */
function sortLines(lines: readonly ReceivedLine[], accepted: number) {
  const fresh: ReceivedLine[] = [];
  let duplicate = 0;
  for (const line of lines) {
    const next = accepted + fresh.length + 1;
    if (line.seq > next) return { fresh, duplicate, gapAt: line.seq };
    if (line.seq < next) duplicate += 1;
    else fresh.push(line);
  }
  return { fresh, duplicate, gapAt: null };
}

function followEachOther(lines: readonly ReceivedLine[]): boolean {
  const first = lines[0]?.seq;
  return first !== undefined && lines.every(({ seq }, index) => seq === first + index);
}

const acceptedAll = (lines: readonly ReceivedLine[]): IngestAnswer => ({
  accepted: lines.length,
  duplicate: 0,
  lastAcceptedSeq: lines.at(-1)?.seq ?? 0,
});
const nothing = (duplicate: number, lastAcceptedSeq: number) => ({
  answer: { accepted: 0, duplicate, lastAcceptedSeq },
  quarantined: 0,
});

type SideEffects = NonNullable<ReturnType<typeof sideEffectsOf>>;

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
 * Keeps what an earlier attempt had accepted from its agent and could not send, uploaded by the runner that holds the run now (architecture.md 5):
 * all of it is late, none of it is lost. Of its effects one still counts: an answer that its agent was told is not given out again. `accepted` counts what is new, `duplicate` what was in the log or in quarantine.
 *
 * @throws AgentRunError `fenced`; `schema-invalid` when the epoch is not an earlier one.
 */
export async function ingestSpilled(
  pool: Pool,
  runner: RunnerIdentity,
  epoch: number,
  lines: readonly ReceivedLine[],
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
  lines: Parameters<typeof quarantineLines>[3],
  reason: LateReason,
  accepted: number,
): Promise<IngestResult> {
  const quarantined = await quarantineLines(tx, runner, reason, lines);
  const { answer } = nothing(0, accepted);
  return { answer, refusal: lateRefusal(runner, reason, answer), quarantined };
}

function lateRefusal(runner: RunnerIdentity, reason: LateReason, answer: IngestAnswer): AgentRunError {
  const kept = 'late events are kept in quarantine';
  switch (reason) {
    case 'after-terminal':
      return conflict(`run ${runner.runId} has ended; ${kept}`, 'ended', answer);
    case 'completed':
      return conflict(
        `attempt ${runner.epoch} of run ${runner.runId} has completed its stream; ${kept}`,
        'completed',
        answer,
      );
    case 'fenced':
      return new AgentRunError('fenced', `attempt ${runner.epoch} of run ${runner.runId} is not current`, {
        details: { ...answer },
      });
  }
}

const gap = (seq: number, answer: IngestAnswer) =>
  conflict(`sequence ${seq} after ${answer.lastAcceptedSeq}: events are missing in between`, 'gap', answer);
const completionMismatch = (finalSeq: number, answer: IngestAnswer) =>
  conflict(
    `complete.finalSeq is ${finalSeq}, the last accepted is ${answer.lastAcceptedSeq}`,
    'completion-mismatch',
    answer,
  );
const conflict = (message: string, reason: IngestConflict, answer: IngestAnswer) =>
  new AgentRunError('conflict', message, { details: { ...answer, reason } });
