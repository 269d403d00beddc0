import { z } from 'zod';
import { outcomeSchema } from '../contract/commands.js';
import { executionPolicySchema } from '../contract/execution-policy.js';
import { type Launcher, launcherSchema } from '../contract/runs.js';
import { runStatusSchema } from '../contract/states.js';
import type { SupervisionFacts } from '../domain/supervision.js';
import type { Queryable } from './pool.js';

/** What Postgres knows about an attempt; the rest of {@link SupervisionFacts} is what its watcher knows. */
export type StoredSupervisionFacts = Omit<
  SupervisionFacts,
  'process' | 'lookingSinceMs' | 'givenLauncher'
> & {
  readonly launcher: Launcher;
  /** A runner job of the attempt was written and nothing has been launched for it. */
  readonly isUnlaunched: boolean;
};

/** One attempt of a run. */
export interface AttemptKey {
  readonly runId: string;
  readonly epoch: number;
}

const keySchema = z.object({ runId: z.string(), epoch: z.number() });
const factsRowSchema = z.object({
  nowMs: z.number(),
  runStatus: runStatusSchema,
  currentEpoch: z.number(),
  policy: executionPolicySchema,
  cancelRequestedAtMs: z.number().nullable(),
  cancelDeadlineMs: z.number().nullable(),
  deadlineAtMs: z.number().nullable(),
  createdAtMs: z.number(),
  startedAtMs: z.number().nullable(),
  pausedSinceMs: z.number().nullable(),
  pausedMs: z.number(),
  claimDeadlineMs: z.number(),
  claimedAtMs: z.number().nullable(),
  firstEventAtMs: z.number().nullable(),
  firstOutputAtMs: z.number().nullable(),
  lastProgressAtMs: z.number().nullable(),
  waitingSinceMs: z.number().nullable(),
  lastResolvedAtMs: z.number().nullable(),
  canPark: z.boolean(),
  launcher: launcherSchema,
  isUnlaunched: z.boolean(),
  outcome: outcomeSchema.nullable(),
  outcomeAtMs: z.number().nullable(),
  jobName: z.string(),
  leaseExpiresAtMs: z.number().nullable(),
  lastSeq: z.number(),
  lastEventType: z.string().nullable(),
});
/** Where the hard limit counts from: the first acknowledged turn, or before it the first claim of any attempt. Aliases: the run is `r`. */
export const hardLimitStart =
  'coalesce(r.started_at, (select min(f.claimed_at) from attempts f where f.run_id = r.run_id))';
const milliseconds = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`;

/** The name of an attempt among many. */
export const attemptName = ({ runId, epoch }: AttemptKey) => `${runId}/${epoch}`;

/**
 * What Postgres knows about attempts, by Postgres' own clock, in one statement for all of them; by {@link attemptName}. One that was never written
 * is not among them; one whose row cannot be read is an error of its own, so that the others are watched all the same.
 */
export async function loadSupervisionFacts(
  db: Queryable,
  attempts: readonly AttemptKey[],
): Promise<Map<string, StoredSupervisionFacts | Error>> {
  const found = await db.query(
    `select r.run_id as "runId", a.epoch, ${milliseconds('clock_timestamp()')} as "nowMs", r.status as "runStatus",
       r.current_epoch as "currentEpoch", r.execution_policy as policy,
       ${milliseconds('r.cancel_requested_at')} as "cancelRequestedAtMs", r.cancel_deadline_ms as "cancelDeadlineMs",
       ${milliseconds('r.deadline_at')} as "deadlineAtMs", ${milliseconds('r.created_at')} as "createdAtMs",
       ${milliseconds(hardLimitStart)} as "startedAtMs", ${milliseconds('r.paused_since')} as "pausedSinceMs",
       r.paused_ms as "pausedMs", ${milliseconds('a.claim_deadline_at')} as "claimDeadlineMs",
       ${milliseconds('a.claimed_at')} as "claimedAtMs", ${milliseconds('a.first_event_at')} as "firstEventAtMs",
       ${milliseconds('a.first_output_at')} as "firstOutputAtMs", ${milliseconds('a.last_progress_at')} as "lastProgressAtMs",
       ${milliseconds('q.waiting_since')} as "waitingSinceMs", ${milliseconds('q.last_resolved_at')} as "lastResolvedAtMs",
       r.launcher <> 'external' as "canPark", r.launcher, coalesce(j.phase = 'creating', false) as "isUnlaunched", a.outcome_body as outcome, a.job_name as "jobName",
       ${milliseconds('a.outcome_at')} as "outcomeAtMs",
       ${milliseconds('l.expires_at')} as "leaseExpiresAtMs", coalesce(g.last_seq, 0) as "lastSeq",
       (select e.type from events e where e.run_id = r.run_id and e.seq = g.last_seq) as "lastEventType"
     from unnest($1::text[], $2::int[]) as w(run_id, epoch)
     join runs r on r.run_id = w.run_id
     join attempts a on a.run_id = w.run_id and a.epoch = w.epoch
     left join run_log g on g.run_id = w.run_id
     left join leases l on l.run_id = w.run_id and l.epoch = w.epoch
     left join runner_jobs j on j.run_id = w.run_id and j.epoch = w.epoch
     left join lateral (
       select min(asked_at) filter (where state = 'pending' and epoch = w.epoch) as waiting_since, max(resolved_at) as last_resolved_at
         from agent_requests where run_id = w.run_id) q on true`,
    [attempts.map(({ runId }) => runId), attempts.map(({ epoch }) => epoch)],
  );
  return new Map(
    found.rows.map((row) => {
      const name = attemptName(keySchema.parse(row));
      const { data, error } = factsRowSchema.safeParse(row);
      return [name, data ?? new Error(`the records of ${name} cannot be read`, { cause: error })];
    }),
  );
}
