import type { IngestLine } from '../contract/ingest.js';
import type { Transaction } from './pool.js';
import { storableJson } from './storable-json.js';

/** Why an event comes too late for the log: its attempt was replaced, its run has ended, its producer had said that nothing more would come. */
export type LateReason = 'fenced' | 'after-terminal' | 'completed';

/** A late event. One without a sequence cannot be told from another. */
type LateLine = Pick<IngestLine, 'event'> & { readonly seq: number | null };

/** Of one run: its first late events are kept, those behind them only counted, so that a flood fills no disk. */
export const mostQuarantined = 10_000;

/**
 * Keeps lines that come too late for the log (decisions.md, "Late events"), each sequence once, and counts them in the run's result. A line that is in the
 * log is no late event: its sender only missed the answer. Of what is beyond {@link mostQuarantined} a repeat is not known and counts again. The caller
 * holds the lock of the log's row. Answers how many are new.
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
  const found = await tx.query<{ count: number }>(
    `with room as (
       select $6 - count(*) as rows from (select 1 from quarantined_events where run_id = $1 limit $6) kept),
     fresh as materialized (
       select n.* from unnest($4::bigint[], $5::text[]) with ordinality as n(seq, event, position)
        where not exists (select 1 from quarantined_events q where q.run_id = $1 and q.epoch = $2 and q.producer_seq = n.seq)),
     kept as (
       insert into quarantined_events (run_id, epoch, producer_seq, reason, event)
       select $1, $2, f.seq, $3, f.event::jsonb
         from (select * from fresh order by position limit (select rows from room)) f
       on conflict (run_id, epoch, producer_seq) do nothing)
     select (count(distinct seq) + count(*) filter (where seq is null))::int as count from fresh`,
    [
      attempt.runId,
      attempt.epoch,
      reason,
      late.map((line) => line.seq),
      late.map((line) => storableJson(line.event)),
      mostQuarantined,
    ],
  );
  const count = found.rows[0]?.count ?? 0;
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
