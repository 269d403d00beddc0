import type { IngestLine } from '../contract/ingest.js';
import type { Transaction } from './pool.js';
import { storableJson } from './storable-json.js';

/** Why an event comes too late for the log: its attempt was replaced, its run has ended, its producer had said that nothing more would come. */
export type LateReason = 'fenced' | 'after-terminal' | 'completed';

/** A late event. One without a sequence cannot be told from another. */
type LateLine = Pick<IngestLine, 'event'> & { readonly seq: number | null };

/**
 * Keeps lines that come too late for the log (decisions.md, "Late events"), each sequence once, and counts them in the run's result. A line that is in the
 * log is no late event: its sender only missed the answer. The caller holds the lock of the log's row. Answers how many are new.
 */
export async function quarantineLines(
  tx: Transaction,
  attempt: { readonly runId: string; readonly epoch: number },
  reason: LateReason,
  lines: readonly LateLine[],
): Promise<number> {
  if (lines.length === 0) return 0;
  const inLog = await acceptedOfEpoch(tx, attempt);
  const late = lines.filter(({ seq }) => seq === null || seq > inLog);
  const inserted = await tx.query(
    `insert into quarantined_events (run_id, epoch, producer_seq, reason, event)
     select $1, $2, n.seq, $3, n.event::jsonb from unnest($4::bigint[], $5::text[]) as n(seq, event)
     on conflict (run_id, epoch, producer_seq) do nothing`,
    [
      attempt.runId,
      attempt.epoch,
      reason,
      late.map((line) => line.seq),
      late.map((line) => storableJson(line.event)),
    ],
  );
  const count = inserted.rowCount ?? 0;
  if (count > 0) await countLateEvents(tx, attempt.runId, count);
  return count;
}

/** What of an epoch is in the log: its sequence has no gaps. Looked for from the end, where that of the last attempts is. */
async function acceptedOfEpoch(
  tx: Transaction,
  { runId, epoch }: { readonly runId: string; readonly epoch: number },
): Promise<number> {
  const found = await tx.query<{ producer_seq: number }>(
    `select producer_seq from events where run_id = $1 and epoch = $2 and producer_seq is not null order by seq desc limit 1`,
    [runId, epoch],
  );
  return found.rows[0]?.producer_seq ?? 0;
}

async function countLateEvents(tx: Transaction, runId: string, count: number): Promise<void> {
  await tx.query(
    `insert into run_projections (run_id, late_events) values ($1, $2)
     on conflict (run_id) do update set late_events = run_projections.late_events + excluded.late_events`,
    [runId, count],
  );
}
