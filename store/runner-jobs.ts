import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import { type RunnerJobStatus, runnerJobRecordSchema, runnerJobStatusSchema } from '../contract/sessions.js';
import { terminalStatusSchema } from '../contract/states.js';
import { runnerJobSummary } from '../domain/runner-job-status.js';
import type { Queryable } from './pool.js';
import { isoTime, runnerJobColumns } from './records.js';

const rowSchema = runnerJobRecordSchema.extend({
  runnerId: z.string().nullable(),
  claimedAt: z.string().nullable(),
  outcome: terminalStatusSchema.nullable(),
  failureKind: z.string().nullable(),
  endedAt: z.string().nullable(),
  counted: z.boolean(),
  pod: runnerJobStatusSchema.shape.pod,
  diagnostics: runnerJobStatusSchema.shape.diagnostics,
});

const statusColumns = `${runnerJobColumns}, a.claimed_by as "runnerId", ${isoTime('a.claimed_at')} as "claimedAt", a.outcome,
  coalesce(a.end_failure_kind, a.outcome_body ->> 'failureKind') as "failureKind",
  ${isoTime('coalesce(a.outcome_at, a.ended_at)')} as "endedAt", a.counted,
  case when j.pod_since is not null or j.node_name is not null or j.pod_message is not null then jsonb_build_object('waitsFor', j.pod_wait,
    'message', j.pod_message, 'since', ${isoTime('j.pod_since')}, 'nodeName', j.node_name) end as pod`;
const statusFrom = 'runner_jobs j join attempts a on a.run_id = j.run_id and a.epoch = j.epoch';

/** The runner jobs of a run, one per attempt, in order, each with how it stands (contract.md 5.7); `commandId`: only those of this command. */
export async function listRunnerJobs(
  db: Queryable,
  runId: string,
  commandId?: string,
): Promise<RunnerJobStatus[]> {
  const found = await db.query(
    `select ${statusColumns} from ${statusFrom} where j.run_id = $1 and ($2::text is null or j.command_id = $2) order by j.epoch`,
    [runId, commandId ?? null],
  );
  return found.rows.map(statusOf);
}

/**
 * One runner job of a run.
 *
 * @throws AgentRunError `not-found`, also for a job of another run.
 */
export async function getRunnerJob(db: Queryable, runId: string, jobId: string): Promise<RunnerJobStatus> {
  const found = await db.query(
    `select ${statusColumns}, j.diagnostics from ${statusFrom} where j.job_id = $1 and j.run_id = $2`,
    [jobId, runId],
  );
  if (found.rows.length === 0)
    throw new AgentRunError('not-found', `runner job ${jobId} is not one of run ${runId}`);
  return statusOf(found.rows[0]);
}

function statusOf(row: unknown): RunnerJobStatus {
  const job = rowSchema.parse(row);
  return {
    ...job,
    summary: runnerJobSummary({ ...job, podMessage: job.pod?.message ?? null }),
    valuesPrinted: false,
  };
}
