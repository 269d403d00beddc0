import { z } from 'zod';
import type { RequestFailureKind } from '../contract/failure-kinds.js';
import { isTerminalState } from '../contract/states.js';
import type { LaunchDecision } from '../domain/launch-decision.js';
import { type AttemptSettings, insertRunner, insertRunnerJob, runOfAttempt } from './attempts.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { type LockedRun, lockSessionAndRun } from './run-lock.js';

const attemptSchema = z.object({
  /** Null: it has no job, or that of a runner which was started elsewhere. */
  job_id: z.string().nullable(),
  job_name: z.string(),
  claimed: z.boolean(),
  ended: z.boolean(),
});

/**
 * Gives the current attempt of a run with launcher `external` the configured launcher (architecture.md 4.4, "POST runner-jobs"): its runner and its
 * runner job are written as those of a launched attempt, and the time to claim begins anew. Whoever watches the attempt finds it and launches. A run
 * that has a job of ours is answered with it, so a repeat answers the same. Locks session, then run.
 */
export async function adoptLauncher(
  pool: Pool,
  settings: AttemptSettings,
  runId: string,
): Promise<LaunchDecision> {
  return withTransaction(pool, async (tx) => {
    const run = await lockSessionAndRun(tx, runId);
    const attempt = await currentAttempt(tx, run);
    if (attempt?.job_id != null) return { kind: 'job', jobId: attempt.job_id };
    const { launcher } = settings;
    if (launcher === 'external')
      return refuse('conflict', 'this installation starts no runners (AGENTRUN_LAUNCHER=external)');
    if (isTerminalState(run.status)) return refuse('conflict', `run ${runId} has ended: it is ${run.status}`);
    if (run.cancel_requested_at !== null) return refuse('conflict', `run ${runId} is being cancelled`);
    if (run.prompt_command_id === null)
      return refuse('conflict', `run ${runId} has no prompt: post a command of type turn first`);
    if (attempt === undefined)
      return refuse('session-busy', `run ${runId} waits behind another turn of its session`);
    if (attempt.claimed)
      return refuse('conflict', `run ${runId} is claimed by a runner that was started elsewhere`);
    if (attempt.ended) return refuse('session-busy', `run ${runId} is between two attempts; try again`);
    return { kind: 'job', jobId: await adopt(tx, settings, launcher, run, attempt.job_name) };
  });
}

const refuse = (failureKind: RequestFailureKind, message: string): LaunchDecision => ({
  kind: 'refused',
  failureKind,
  message,
});

/** Undefined before the turn begins. Of a run that has a job the newest one is of its current attempt. */
async function currentAttempt(
  tx: Transaction,
  run: LockedRun,
): Promise<z.infer<typeof attemptSchema> | undefined> {
  const found = await tx.query(
    `select j.job_id, a.job_name, a.claimed_by is not null as claimed, a.ended_at is not null as ended
       from runs r join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch
       left join runner_jobs j on j.run_id = a.run_id and j.epoch = a.epoch and j.launcher <> 'external' where r.run_id = $1`,
    [run.run_id],
  );
  return found.rows.length === 0 ? undefined : attemptSchema.parse(found.rows[0]);
}

async function adopt(
  tx: Transaction,
  settings: AttemptSettings,
  launcher: Exclude<AttemptSettings['launcher'], 'external'>,
  { run_id: runId, current_epoch: epoch, execution_policy: policy }: LockedRun,
  jobName: string,
): Promise<string> {
  await tx.query('update runs set launcher = $2, updated_at = now() where run_id = $1', [runId, launcher]);
  await tx.query(
    `update attempts set claim_deadline_at = clock_timestamp() + $3 * interval '1 millisecond' where run_id = $1 and epoch = $2`,
    [runId, epoch, policy.claimTimeoutMs],
  );
  // Registered from elsewhere and not claimed in time: from here on the job is ours, and that runner's claim is fenced.
  await tx.query('delete from runners where job_name = $1', [jobName]);
  const run = await runOfAttempt(tx, runId);
  await insertRunner(tx, settings, run, jobName);
  return insertRunnerJob(tx, run, { runId, epoch, jobName, reused: false });
}
