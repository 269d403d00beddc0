import { z } from 'zod';
import { outcomeSchema } from '../contract/commands.js';
import { executionPolicySchema } from '../contract/execution-policy.js';
import { runStatusSchema } from '../contract/states.js';
import type { SupervisionFacts } from '../domain/supervision.js';
import type { Queryable } from './pool.js';

const factsRowSchema = z.object({
  nowMs: z.number(),
  runStatus: runStatusSchema,
  currentEpoch: z.number(),
  policy: executionPolicySchema,
  cancelRequestedAtMs: z.number().nullable(),
  createdAtMs: z.number(),
  startedAtMs: z.number().nullable(),
  claimDeadlineMs: z.number(),
  claimedAtMs: z.number().nullable(),
  firstEventAtMs: z.number().nullable(),
  lastProgressAtMs: z.number().nullable(),
  outcome: outcomeSchema.nullable(),
  jobName: z.string(),
  leaseExpiresAtMs: z.number().nullable(),
  lastSeq: z.number(),
  lastEventType: z.string().nullable(),
});
const milliseconds = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`;

/** What Postgres knows about attempt `epoch`, by Postgres' own clock. Undefined when it was never written. */
export async function loadSupervisionFacts(
  db: Queryable,
  runId: string,
  epoch: number,
): Promise<Omit<SupervisionFacts, 'process'> | undefined> {
  const found = await db.query(
    `select ${milliseconds('clock_timestamp()')} as "nowMs", r.status as "runStatus", r.current_epoch as "currentEpoch",
       r.execution_policy as policy, ${milliseconds('r.cancel_requested_at')} as "cancelRequestedAtMs",
       ${milliseconds('r.created_at')} as "createdAtMs", ${milliseconds('r.started_at')} as "startedAtMs",
       ${milliseconds('a.claim_deadline_at')} as "claimDeadlineMs", ${milliseconds('a.claimed_at')} as "claimedAtMs",
       ${milliseconds('a.first_event_at')} as "firstEventAtMs", ${milliseconds('a.last_progress_at')} as "lastProgressAtMs",
       a.outcome_body as outcome, a.job_name as "jobName", ${milliseconds('l.expires_at')} as "leaseExpiresAtMs",
       coalesce(g.last_seq, 0) as "lastSeq",
       (select e.type from events e where e.run_id = r.run_id and e.seq = g.last_seq) as "lastEventType"
     from runs r
     join attempts a on a.run_id = r.run_id and a.epoch = $2
     left join run_log g on g.run_id = r.run_id
     left join leases l on l.run_id = r.run_id and l.epoch = a.epoch
     where r.run_id = $1`,
    [runId, epoch],
  );
  return found.rows.length === 0 ? undefined : factsRowSchema.parse(found.rows[0]);
}
