import { z } from 'zod';
import type { AssignmentFacts } from '../contract/runners.js';
import { listCommands } from './commands.js';
import type { Queryable } from './pool.js';
import { isoTime, parseRun, runColumns, runFrom } from './records.js';
import { fenced, type RunnerIdentity } from './runner-identity.js';

const leaseRowSchema = z.object({
  lease_ms: z.number(),
  expires_at: z.string(),
  thread_id: z.string().nullable(),
});

/** A run has at most this many commands; more than a person steers in one turn. */
const mostCommands = 1_000;

/** How often a lease is renewed: every third of it. */
export const heartbeatIntervalMs = (leaseMs: number) => Math.floor(leaseMs / 3);

/**
 * What a runner is to do: the run, its commands in order and the thread to resume. Reads only; the caller has checked that
 * the attempt is the runner's.
 */
export async function loadAssignment(db: Queryable, runner: RunnerIdentity): Promise<AssignmentFacts> {
  const run = await db.query(`select ${runColumns} from ${runFrom} where r.run_id = $1`, [runner.runId]);
  const lease = await db.query(
    `select l.lease_ms, ${isoTime('l.expires_at')} as expires_at, s.thread_id
       from leases l join runs r on r.run_id = l.run_id join sessions s on s.session_id = r.session_id
      where l.job_name = $1 and l.run_id = $2 and l.epoch = $3`,
    [runner.jobName, runner.runId, runner.epoch],
  );
  if (lease.rows.length === 0) throw fenced(`runner ${runner.runnerId} does not serve run ${runner.runId}`);
  const {
    lease_ms: leaseMs,
    expires_at: leaseExpiresAt,
    thread_id: threadId,
  } = leaseRowSchema.parse(lease.rows[0]);
  return {
    run: parseRun(run.rows[0]),
    epoch: runner.epoch,
    leaseMs,
    leaseExpiresAt,
    heartbeatIntervalMs: heartbeatIntervalMs(leaseMs),
    threadId,
    commands: await listCommands(db, runner.runId, { afterSeq: 0, limit: mostCommands }),
    resume: null,
    grants: [],
  };
}
