import { z } from 'zod';
import type { IngestLine } from '../contract/ingest.js';
import { type Pool, type Queryable, withTransaction } from './pool.js';
import { quarantineLines } from './quarantine.js';
import { recordTold, requestChangesIn } from './request-events.js';

const runSchema = z.object({ terminal: z.boolean() });

/** The session whose files a runner worked in; undefined for one that is not known. */
export async function sessionOfRunner(db: Queryable, jobName: string): Promise<string | undefined> {
  const found = await db.query<{ session_id: string }>('select session_id from runners where job_name = $1', [
    jobName,
  ]);
  return found.rows[0]?.session_id;
}

/** Whether an attempt was that runner's. */
export async function wasServedBy(
  db: Queryable,
  { runId, epoch }: { readonly runId: string; readonly epoch: number },
  jobName: string,
): Promise<boolean> {
  const found = await db.query('select 1 from attempts where run_id = $1 and epoch = $2 and job_name = $3', [
    runId,
    epoch,
    jobName,
  ]);
  return found.rows.length > 0;
}

/**
 * Keeps what the runner of an attempt, which is gone, had accepted from its agent and could not send: in quarantine, as when a next attempt brings it
 * (architecture.md 5). Answers how many lines are new there.
 */
export async function keepLeftEvents(
  pool: Pool,
  attempt: { readonly runId: string; readonly epoch: number },
  lines: readonly IngestLine[],
): Promise<number> {
  const { runId } = attempt;
  return withTransaction(pool, async (tx) => {
    const found = await tx.query(
      'select terminal_status is not null as terminal from runs where run_id = $1 for no key update',
      [runId],
    );
    const { terminal } = runSchema.parse(found.rows[0]);
    await recordTold(tx, runId, requestChangesIn(lines.map(({ event }) => event))?.resolved ?? []);
    await tx.query('select 1 from run_log where run_id = $1 for update', [runId]);
    return quarantineLines(tx, attempt, terminal ? 'after-terminal' : 'fenced', lines);
  });
}
