import { z } from 'zod';
import { workspaceSchema } from '../contract/runs.js';
import type { Queryable } from './pool.js';

const launchRowSchema = z.object({
  jobId: z.string(),
  jobName: z.string(),
  runId: z.string(),
  epoch: z.number(),
  sessionId: z.string(),
  tenantId: z.string(),
  backendProfile: z.string(),
  workspace: workspaceSchema.nullable(),
  /** Name of the session's volume claim; of no use where files are in directories. */
  volumeName: z.string().nullable(),
  leaseMs: z.number(),
  traceparent: z.string().nullable(),
  isCurrent: z.boolean(),
});
export type LaunchFacts = z.infer<typeof launchRowSchema>;

/** What a launcher needs to know about an attempt. `isCurrent` is false once another attempt or the end of the run came first. */
export async function loadLaunchFacts(
  db: Queryable,
  runId: string,
  epoch: number,
): Promise<LaunchFacts | undefined> {
  const found = await db.query(
    `select j.job_id as "jobId", j.job_name as "jobName", r.run_id as "runId", j.epoch, r.session_id as "sessionId",
       r.tenant_id as "tenantId", r.backend_profile as "backendProfile", r.workspace, s.storage_pvc_name as "volumeName", r.traceparent,
       (r.execution_policy ->> 'leaseMs')::int as "leaseMs",
       r.current_epoch = j.epoch and r.terminal_status is null as "isCurrent"
     from runner_jobs j join runs r on r.run_id = j.run_id join sessions s on s.session_id = r.session_id where j.run_id = $1 and j.epoch = $2`,
    [runId, epoch],
  );
  return found.rows.length === 0 ? undefined : launchRowSchema.parse(found.rows[0]);
}

/** The runner was started: its job shows it, and the claim timeout counts from now. */
export async function noteLaunched(db: Queryable, facts: LaunchFacts): Promise<void> {
  await db.query(
    // The run's row first, as a claim that comes at the same moment takes it.
    `with locked as (select run_id from runs where run_id = $2 for no key update),
     job as (
       update runner_jobs set phase = case when phase = 'creating' then 'starting' else phase end, updated_at = now()
        where job_id = $1 and run_id = (select run_id from locked) returning run_id, epoch)
     update attempts a set claim_deadline_at = now() + (r.execution_policy ->> 'claimTimeoutMs')::int * interval '1 millisecond'
       from job, runs r where a.run_id = job.run_id and a.epoch = job.epoch and r.run_id = job.run_id and a.claimed_by is null`,
    [facts.jobId, facts.runId],
  );
}
