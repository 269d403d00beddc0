import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { IngestAnswer, IngestLine } from '../contract/ingest.js';
import { type Delivery, deliveriesIn, recordDeliveries, threadIdIn } from './deliveries.js';
import { insertEvents } from './event-rows.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import type { RunnerIdentity } from './runner-identity.js';
import { storableJson } from './storable-json.js';

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
}

/**
 * Appends a runner's batch to its run's log, exactly once (requirements.md A.1.a 6): the next expected sequence is stored, one at or below
 * the accepted is a duplicate, a gap ends the batch with `conflict`. A fenced or late batch goes to quarantine and answers `fenced` or
 * `conflict` (architecture.md 5). Every answer and every error carries `lastAcceptedSeq`. No lines: a probe that changes nothing.
 *
 * Locks in the order run, log: the run only when a line says that a command was delivered or a thread opened.
 */
export async function ingest(
  pool: Pool,
  runner: RunnerIdentity,
  lines: readonly IngestLine[],
): Promise<IngestResult> {
  return withTransaction(pool, async (tx) => {
    const deliveries = deliveriesIn(lines.map((line) => line.event));
    const threadId = threadIdIn(lines.map((line) => line.event));
    if (deliveries.length > 0 || threadId !== null)
      await tx.query('select 1 from runs where run_id = $1 for update', [runner.runId]);
    const log = await lockLog(tx, runner);
    const accepted = log.log_epoch === runner.epoch ? log.last_producer_seq : 0;
    if (log.terminal || log.current_epoch !== runner.epoch || !log.mine) {
      return quarantine(tx, runner, lines, log, accepted);
    }
    const sorted = sortLines(lines, accepted);
    if (threadId !== null) {
      await tx.query('update runs set thread_id = $2 where run_id = $1', [runner.runId, threadId]);
    }
    if (sorted.fresh.length > 0) await store(tx, runner, log, sorted.fresh, deliveries);
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
    return { answer, refusal };
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

async function store(
  tx: Transaction,
  runner: RunnerIdentity,
  log: LogRow,
  fresh: readonly IngestLine[],
  deliveries: readonly Delivery[],
): Promise<void> {
  const stored = await insertEvents(
    tx,
    { runId: runner.runId, epoch: runner.epoch, lastSeq: log.last_seq },
    fresh.map((line) => ({ event: line.event, producerSeq: line.seq })),
  );
  await tx.query(
    'update run_log set last_seq = $2, epoch = $3, last_producer_seq = $4, last_event_at = now() where run_id = $1',
    [runner.runId, stored.lastSeq, runner.epoch, fresh.at(-1)?.seq ?? 0],
  );
  // Both rows are also written by those who lock the log after them: skipped when locked, the next batch makes up for it.
  await tx.query(
    `update attempts set first_event_at = coalesce(first_event_at, now()), last_progress_at = now()
      where (run_id, epoch) in (
        select run_id, epoch from attempts
         where run_id = $1 and epoch = $2 and (first_event_at is null or last_progress_at < now() - interval '500 milliseconds')
         for no key update skip locked)`,
    [runner.runId, runner.epoch],
  );
  await tx.query(
    `update runs set updated_at = now() where run_id in (
       select run_id from runs where run_id = $1 and updated_at < now() - interval '1 second' for no key update skip locked)`,
    [runner.runId],
  );
  if (deliveries.length > 0)
    await recordDeliveries(tx, runner.runId, deliveriesIn(fresh.map((line) => line.event)));
}

async function quarantine(
  tx: Transaction,
  runner: RunnerIdentity,
  lines: readonly IngestLine[],
  log: LogRow,
  accepted: number,
): Promise<IngestResult> {
  // What is in the log already is no late event: its sender only missed the answer.
  await tx.query(
    `insert into quarantined_events (run_id, epoch, producer_seq, reason, event)
     select $1, $2, n.seq, $3, n.event::jsonb from unnest($4::bigint[], $5::text[]) as n(seq, event)
      where not exists (select 1 from events e where e.run_id = $1 and e.epoch = $2 and e.producer_seq = n.seq)
     on conflict (run_id, epoch, producer_seq) do nothing`,
    [
      runner.runId,
      runner.epoch,
      log.terminal ? 'after-terminal' : 'fenced',
      lines.map((line) => line.seq),
      lines.map((line) => storableJson(line.event)),
    ],
  );
  const answer: IngestAnswer = { accepted: 0, duplicate: 0, lastAcceptedSeq: accepted };
  const refusal = log.terminal
    ? new AgentRunError('conflict', `run ${runner.runId} has ended; late events are kept in quarantine`, {
        details: { ...answer },
      })
    : new AgentRunError('fenced', `attempt ${runner.epoch} of run ${runner.runId} is not current`, {
        details: { ...answer },
      });
  return { answer, refusal };
}
