import { z } from 'zod';
import { executionPolicySchema } from '../contract/execution-policy.js';
import { idPrefixes } from '../contract/ids.js';
import { type Launcher, launcherSchema } from '../contract/runs.js';
import { type RunnerState, runnerStateSchema } from '../contract/states.js';
import type { FirstAttempt } from '../domain/send-plan.js';
import { appendEvents } from './events.js';
import { newId } from './new-id.js';
import type { Queryable, Transaction } from './pool.js';
import type { StoragePlace } from './storage-place.js';

/** What the worker knows about runners when it writes an attempt. */
export interface AttemptSettings {
  /** `external`: this installation starts no runners, every attempt waits for a claim from elsewhere. */
  readonly launcher: Launcher;
  /** Hash of image, profile, resources and credential generation (decisions.md, Words); equal means that a runner fits. */
  readonly fingerprintOf: (backendProfile: string) => string;
  /** How long a runner waits for the next turn of its session. */
  readonly runnerIdleTimeoutMs: number;
  /** Life of a runner; one with less left than a turn's hard limit is not reused. */
  readonly runnerLifeMs: number;
  /** Of sessions that a message makes; default: directories. */
  readonly storage?: StoragePlace;
}

/** How an attempt gets its runner. `reused`: it was handed to the session's idle runner already. */
export interface PreparedAttempt extends FirstAttempt {
  readonly runId: string;
}

/** Deterministic per attempt, so that a launch that is repeated finds the runner that exists (architecture.md 4.2). */
export const jobNameOf = (runId: string, epoch: number) =>
  `agentrun-${runId.slice(idPrefixes.run.length + 1)}-${epoch}`;

const modeOf = (epoch: number) => (epoch === 1 ? 'start' : 'resume');

const runRowSchema = z.object({
  session_id: z.string(),
  tenant_id: z.string(),
  backend_profile: z.string(),
  launcher: z.enum(['process', 'kubernetes', 'external']),
  execution_policy: executionPolicySchema,
  current_epoch: z.number(),
  prompt_command_id: z.string().nullable(),
});
/** What the rows of an attempt take from its run. */
export type AttemptRun = z.infer<typeof runRowSchema>;

/**
 * Writes attempt `epoch` of a run with its runner-job row and makes it current, before anything is launched (architecture.md 5). Then the
 * session's idle runner is taken by one compare-and-set if it fits; one that does not fit is told to close. A repeat answers the same.
 * The caller holds the lock of the session's row.
 */
export async function prepareAttempt(
  tx: Transaction,
  settings: AttemptSettings,
  runId: string,
  epoch: number,
): Promise<PreparedAttempt> {
  const run = await runOfAttempt(tx, runId);
  const { maxAttempts } = run.execution_policy;
  if (run.current_epoch >= epoch)
    return { ...(await existingAttempt(tx, runId, epoch, run.launcher)), maxAttempts };
  const idle =
    run.launcher === 'external' ? undefined : await takeIdleRunner(tx, settings, run, runId, epoch);
  const jobName = idle?.jobName ?? jobNameOf(runId, epoch);
  await tx.query(
    // The time of this statement: that of the transaction may lie before the end of the former turn, whose lock it waited for.
    `insert into attempts (run_id, epoch, job_name, mode, claim_deadline_at, claimed_by, claimed_at, created_at)
     values ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 millisecond', $6,
       case when $6::text is null then null else clock_timestamp() end, clock_timestamp())`,
    [runId, epoch, jobName, modeOf(epoch), run.execution_policy.claimTimeoutMs, idle?.runnerId ?? null],
  );
  await tx.query(
    `update runs set current_epoch = $2, updated_at = now(),
       status = case when $3 and status = 'pending' then 'claimed' else status end where run_id = $1`,
    [runId, epoch, idle !== undefined],
  );
  if (run.launcher !== 'external') {
    if (idle === undefined) await insertRunner(tx, settings, run, jobName);
    await insertRunnerJob(tx, run, { runId, epoch, jobName, reused: idle !== undefined });
  }
  if (idle !== undefined) {
    await moveLease(tx, run.execution_policy.leaseMs, idle, runId, epoch);
    await appendEvents(tx, runId, epoch, [
      {
        type: 'attempt_started',
        payload: { attempt: epoch, runnerId: idle.runnerId, mode: modeOf(epoch), reused: true },
      },
    ]);
  }
  return { runId, epoch, jobName, reused: idle !== undefined, launcher: run.launcher, maxAttempts };
}

/** The run of an attempt that is to be written, locked. */
export async function runOfAttempt(tx: Transaction, runId: string): Promise<AttemptRun> {
  const row = await tx.query(
    `select session_id, tenant_id, backend_profile, launcher, execution_policy, current_epoch, prompt_command_id
       from runs where run_id = $1 for no key update`,
    [runId],
  );
  return runRowSchema.parse(row.rows[0]);
}

/** Writes the runner job of an attempt and answers its id; `reused`: its runner was handed the attempt already. */
export async function insertRunnerJob(
  tx: Transaction,
  run: AttemptRun,
  attempt: { runId: string; epoch: number; jobName: string; reused: boolean },
): Promise<string> {
  const jobId = newId(idPrefixes.runnerJob);
  await tx.query(
    `insert into runner_jobs (job_id, run_id, epoch, command_id, job_name, launcher, reused, phase, namespace)
     values ($1, $2, $3, $4, $5, $6, $7, $8,
       case when $6::text = 'kubernetes' then (select storage_namespace from sessions where session_id = $9) end)`,
    [
      jobId,
      attempt.runId,
      attempt.epoch,
      run.prompt_command_id,
      attempt.jobName,
      run.launcher,
      attempt.reused,
      attempt.reused ? 'running' : 'creating',
      run.session_id,
    ],
  );
  return jobId;
}

async function existingAttempt(
  tx: Transaction,
  runId: string,
  epoch: number,
  launcher: Launcher,
): Promise<Omit<PreparedAttempt, 'maxAttempts'>> {
  const found = await tx.query<{ job_name: string; reused: boolean | null }>(
    `select a.job_name, j.reused from attempts a left join runner_jobs j on j.run_id = a.run_id and j.epoch = a.epoch
      where a.run_id = $1 and a.epoch = $2`,
    [runId, epoch],
  );
  const attempt = found.rows[0];
  if (attempt === undefined) throw new Error(`attempt ${epoch} of ${runId} was never written`);
  return { runId, epoch, jobName: attempt.job_name, reused: attempt.reused ?? false, launcher };
}

interface IdleRunner {
  readonly jobName: string;
  readonly runnerId: string;
}

async function takeIdleRunner(
  tx: Transaction,
  settings: AttemptSettings,
  run: AttemptRun,
  runId: string,
  epoch: number,
): Promise<IdleRunner | undefined> {
  const fingerprint = settings.fingerprintOf(run.backend_profile);
  // What is idle and is not taken does not fit: it has to go before another process opens the same thread.
  const taken = await tx.query<{ job_name: string; runner_id: string }>(
    `with fitting as (
       select n.job_name from runners n join leases l using (job_name)
        where n.session_id = $1 and n.state = 'idle' and n.fingerprint = $4 and n.runner_id is not null
          and n.expires_at > now() + $5 * interval '1 millisecond' and l.expires_at > now()
        order by n.updated_at desc limit 1 for no key update of n),
     others as (
       update runners set state = 'closing', updated_at = now()
        where session_id = $1 and state = 'idle' and job_name not in (select job_name from fitting))
     update runners set state = 'serving', run_id = $2, epoch = $3, idle_until = null, updated_at = now()
      where job_name = (select job_name from fitting) and state = 'idle' returning job_name, runner_id`,
    [run.session_id, runId, epoch, fingerprint, run.execution_policy.hardTimeoutMs],
  );
  const runner = taken.rows[0];
  return runner === undefined ? undefined : { jobName: runner.job_name, runnerId: runner.runner_id };
}

/** Writes the runner of an attempt that is to be launched. */
export async function insertRunner(
  tx: Transaction,
  settings: AttemptSettings,
  run: AttemptRun,
  jobName: string,
): Promise<void> {
  await tx.query(
    `insert into runners (job_name, tenant_id, session_id, backend_profile, launcher, fingerprint, state, idle_timeout_ms, expires_at)
     values ($1, $2, $3, $4, $5, $6, 'launching', $7, now() + $8 * interval '1 millisecond')`,
    [
      jobName,
      run.tenant_id,
      run.session_id,
      run.backend_profile,
      run.launcher,
      settings.fingerprintOf(run.backend_profile),
      settings.runnerIdleTimeoutMs,
      settings.runnerLifeMs,
    ],
  );
}

async function moveLease(
  tx: Transaction,
  leaseMs: number,
  idle: IdleRunner,
  runId: string,
  epoch: number,
): Promise<void> {
  await tx.query(
    `update leases set run_id = $2, epoch = $3, lease_ms = $4::int, expires_at = now() + $4::int * interval '1 millisecond',
       heartbeat_at = now(), progress = null where job_name = $1 and runner_id = $5`,
    [idle.jobName, runId, epoch, leaseMs, idle.runnerId],
  );
}

/** A job of this session other than `jobName` that is not known to be gone: must be, before a new process opens the thread. */
export async function otherRunnersOfSession(
  tx: Pick<Transaction, 'query'>,
  jobName: string,
): Promise<string[]> {
  const found = await tx.query<{ job_name: string }>(
    `select o.job_name from runners n join runners o on o.session_id = n.session_id and o.job_name <> n.job_name
      where n.job_name = $1 and o.state <> 'gone' and o.launcher = n.launcher`,
    [jobName],
  );
  return found.rows.map((row) => row.job_name);
}

/** Who started a runner, and where it stands; undefined for one that nobody has heard of. */
export async function findRunner(
  db: Queryable,
  jobName: string,
): Promise<{ launcher: Launcher; state: RunnerState } | undefined> {
  const found = await db.query('select launcher, state from runners where job_name = $1', [jobName]);
  return found.rows.length === 0 ? undefined : runnerRowSchema.parse(found.rows[0]);
}

const runnerRowSchema = z.object({ launcher: launcherSchema, state: runnerStateSchema });

/** Records that a runner's processes or pod are proven gone. */
export async function markRunnerGone(tx: Pick<Transaction, 'query'>, jobName: string): Promise<void> {
  await tx.query(
    `update runners set state = 'gone', updated_at = now() where job_name = $1 and state <> 'gone'`,
    [jobName],
  );
}
