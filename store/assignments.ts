import { z } from 'zod';
import { agentRequestResolutionSchema } from '../contract/agent-requests.js';
import type { AssignmentFacts, Grant, Resume } from '../contract/runners.js';
import { listCommands } from './commands.js';
import type { Queryable } from './pool.js';
import { isoTime, parseRun, runColumns, runFrom } from './records.js';
import { fenced, type RunnerIdentity } from './runner-identity.js';

const leaseRowSchema = z.object({
  lease_ms: z.number(),
  expires_at: z.string(),
  thread_id: z.string().nullable(),
  traceparent: z.string().nullable(),
});

/** A run has at most this many commands; more than a person steers in one turn. */
const mostCommands = 1_000;
/** Answers that wait for the next attempt: an agent asks one thing after another. */
const mostGrants = 100;

/** How often a lease is renewed: every third of it. */
export const heartbeatIntervalMs = (leaseMs: number) => Math.floor(leaseMs / 3);

/**
 * What a runner is to do: the run, its commands in order and the thread to resume, which is the run's own as soon as it has one; for a later
 * attempt what became of the former, and the answers that were given in between. Reads only; the caller has checked that the attempt is the runner's.
 */
export async function loadAssignment(db: Queryable, runner: RunnerIdentity): Promise<AssignmentFacts> {
  const found = await db.query(`select ${runColumns} from ${runFrom} where r.run_id = $1`, [runner.runId]);
  const lease = await db.query(
    `select l.lease_ms, ${isoTime('l.expires_at')} as expires_at, coalesce(r.thread_id, s.thread_id) as thread_id, r.traceparent
       from leases l join runs r on r.run_id = l.run_id join sessions s on s.session_id = r.session_id
      where l.job_name = $1 and l.run_id = $2 and l.epoch = $3`,
    [runner.jobName, runner.runId, runner.epoch],
  );
  if (lease.rows.length === 0) throw fenced(`runner ${runner.runnerId} does not serve run ${runner.runId}`);
  const row = leaseRowSchema.parse(lease.rows[0]);
  const run = parseRun(found.rows[0]);
  return {
    run,
    epoch: runner.epoch,
    leaseMs: row.lease_ms,
    leaseExpiresAt: row.expires_at,
    heartbeatIntervalMs: heartbeatIntervalMs(row.lease_ms),
    threadId: row.thread_id,
    commands: await listCommands(db, runner.runId, { afterSeq: 0, limit: mostCommands, forRunner: true }),
    resume: await loadResume(db, runner, run.executionPolicy.maxAttempts),
    grants: runner.epoch === 1 ? [] : await loadGrants(db, runner),
    traceparent: row.traceparent,
  };
}

const formerAttemptSchema = z.object({
  failure_kind: z.string().nullable(),
  reason: z.string().nullable(),
  ended_at: z.string().nullable(),
  parked: z.enum(['person', 'provider-limit']).nullable(),
  compact: z.boolean(),
  counted_before: z.number(),
});

/** Null for the first attempt. `attempt` is what a person counts: parks are not among them. */
async function loadResume(
  db: Queryable,
  runner: RunnerIdentity,
  maxAttempts: number,
): Promise<Resume | null> {
  const found = await db.query(
    `select a.end_failure_kind as failure_kind, a.end_reason as reason, ${isoTime('a.ended_at')} as ended_at, a.compact_next as compact,
       case when a.counted then null when a.end_failure_kind is null then 'person' when a.end_failure_kind like 'provider-%' then 'provider-limit' end as parked,
       (select count(*)::int from attempts c where c.run_id = a.run_id and c.epoch < $2 and c.counted) as counted_before
     from attempts a where a.run_id = $1 and a.epoch = $2 - 1`,
    [runner.runId, runner.epoch],
  );
  if (found.rows.length === 0) return null;
  const former = formerAttemptSchema.parse(found.rows[0]);
  return {
    attempt: former.counted_before + 1,
    maxAttempts,
    formerFailureKind: former.failure_kind,
    formerReason: former.reason,
    formerEndedAt: former.ended_at,
    parked: former.parked,
    compact: former.compact,
  };
}

const grantRowSchema = z.object({
  requestId: z.string(),
  fingerprint: z.string(),
  summary: z.string(),
  resolution: agentRequestResolutionSchema,
});

/**
 * Answers to requests of earlier attempts that no agent was told. One whose command a runner has acknowledged was told, whatever became of the event
 * that says so: its agent asks anew, because what was approved may have been done.
 */
async function loadGrants(db: Queryable, runner: RunnerIdentity): Promise<Grant[]> {
  const found = await db.query(
    `select request_id as "requestId", fingerprint, request ->> 'summary' as summary, resolution from agent_requests q
      where run_id = $1 and epoch < $2 and delivered_at is null and state in ('approved', 'denied', 'answered', 'timed-out')
        and not exists (select 1 from commands c where c.command_id = q.answer_command_id and c.acknowledged_at is not null)
      order by request_id limit $3`,
    [runner.runId, runner.epoch, mostGrants],
  );
  return z.array(grantRowSchema).parse(found.rows);
}
