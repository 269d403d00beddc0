import { z } from 'zod';
import type { IngestLine } from '../contract/ingest.js';
import { type Pool, type Queryable, withTransaction } from './pool.js';
import { quarantineLines } from './quarantine.js';
import { recordTold, requestChangesIn } from './request-events.js';

const runSchema = z.object({ terminal: z.boolean() });

const servedSchema = z.object({ sessionId: z.string(), runId: z.string(), epoch: z.number() });
/** An attempt that a runner served. */
export type ServedAttempt = z.infer<typeof servedSchema>;

/** The attempts of a runner, oldest first. */
export async function attemptsOfRunner(db: Queryable, jobName: string): Promise<ServedAttempt[]> {
  const found = await db.query(
    `select r.session_id as "sessionId", j.run_id as "runId", j.epoch
       from runner_jobs j join runs r using (run_id) where j.job_name = $1 order by j.run_id, j.epoch`,
    [jobName],
  );
  return found.rows.map((row) => servedSchema.parse(row));
}

/**
 * Keeps what the runner of an attempt, which is gone, had accepted from its agent and could not send: in quarantine, as when a next attempt brings it
 * (architecture.md 5). Answers how many lines are new; none when the run was deleted meanwhile.
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
    if (found.rows.length === 0) return 0;
    const { terminal } = runSchema.parse(found.rows[0]);
    await recordTold(tx, runId, requestChangesIn(lines.map(({ event }) => event))?.resolved ?? []);
    await tx.query('select 1 from run_log where run_id = $1 for update', [runId]);
    return quarantineLines(tx, attempt, terminal ? 'after-terminal' : 'fenced', lines);
  });
}
