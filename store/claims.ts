import { z } from 'zod';
import { idPrefixes } from '../contract/ids.js';
import type { AssignmentFacts } from '../contract/runners.js';
import { loadAssignment } from './assignments.js';
import { appendEvents } from './events.js';
import { newId } from './new-id.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { fenced, type RunnerIdentity } from './runner-identity.js';

const attemptSchema = z.object({
  terminal_status: z.string().nullable(),
  current_epoch: z.number(),
  claimed_by: z.string().nullable(),
  in_time: z.boolean(),
  outcome: z.string().nullable(),
  mode: z.enum(['start', 'resume']),
  runner_state: z.string().nullable(),
  runner_id: z.string().nullable(),
});
type AttemptRow = z.infer<typeof attemptSchema>;

/**
 * Gives an attempt to a registered runner instance: a compare, exclusive and repeatable (architecture.md 5). A repeat by the same
 * instance answers the same with a renewed lease.
 *
 * @throws AgentRunError `fenced` for every other: another attempt is current, another instance has it, too late, ended.
 */
export async function claim(pool: Pool, runner: RunnerIdentity, leaseMs: number): Promise<AssignmentFacts> {
  return withTransaction(pool, async (tx) => {
    await tx.query('select 1 from runs where run_id = $1 for no key update', [runner.runId]);
    const found = await tx.query(
      `select r.terminal_status, r.current_epoch, a.claimed_by, a.claim_deadline_at > now() as in_time, a.outcome, a.mode,
         n.state as runner_state, n.runner_id
       from runs r join attempts a on a.run_id = r.run_id and a.epoch = $2 left join runners n on n.job_name = a.job_name
       where r.run_id = $1 and a.job_name = $3`,
      [runner.runId, runner.epoch, runner.jobName],
    );
    if (found.rows.length === 0)
      throw fenced(`attempt ${runner.epoch} of run ${runner.runId} does not exist`);
    const attempt = attemptSchema.parse(found.rows[0]);
    const refusal = claimRefusal(attempt, runner);
    if (refusal !== undefined) throw fenced(refusal);
    if (attempt.claimed_by === null) await takeAttempt(tx, runner, attempt);
    await tx.query(
      `insert into leases (job_name, run_id, epoch, runner_id, lease_ms, expires_at)
       values ($1, $2, $3, $4, $5::int, now() + $5::int * interval '1 millisecond')
       on conflict (job_name) do update set run_id = excluded.run_id, epoch = excluded.epoch, runner_id = excluded.runner_id,
         lease_ms = excluded.lease_ms, expires_at = excluded.expires_at, heartbeat_at = now()`,
      [runner.jobName, runner.runId, runner.epoch, runner.runnerId, leaseMs],
    );
    return loadAssignment(tx, runner);
  });
}

function claimRefusal(attempt: AttemptRow, runner: RunnerIdentity): string | undefined {
  const name = `attempt ${runner.epoch} of run ${runner.runId}`;
  if (attempt.terminal_status !== null) return `run ${runner.runId} has ended`;
  if (attempt.current_epoch !== runner.epoch)
    return `${name} was replaced by attempt ${attempt.current_epoch}`;
  if (attempt.outcome !== null) return `${name} has ended`;
  if (attempt.runner_id !== runner.runnerId)
    return `${name}: its job is registered to another runner instance`;
  if (attempt.runner_state === 'closing' || attempt.runner_state === 'gone')
    return `${name}: its runner was told to close`;
  if (attempt.claimed_by === null)
    return attempt.in_time ? undefined : `${name}: the claim deadline has passed`;
  return attempt.claimed_by === runner.runnerId ? undefined : `${name} belongs to another runner`;
}

async function takeAttempt(tx: Transaction, runner: RunnerIdentity, attempt: AttemptRow): Promise<void> {
  await tx.query('update attempts set claimed_by = $3, claimed_at = now() where run_id = $1 and epoch = $2', [
    runner.runId,
    runner.epoch,
    runner.runnerId,
  ]);
  await tx.query(
    `update runners set state = 'serving', run_id = $2, epoch = $3, idle_until = null, updated_at = now() where job_name = $1`,
    [runner.jobName, runner.runId, runner.epoch],
  );
  await tx.query(
    `update runs set status = case when status = 'pending' then 'claimed' else status end, updated_at = now() where run_id = $1`,
    [runner.runId],
  );
  await tx.query(
    // An attempt that was launched has its job; one of a runner of somebody else's gets it with the runner that serves it (decisions.md, Words).
    `insert into runner_jobs (job_id, run_id, epoch, command_id, job_name, launcher, phase)
     select $3, run_id, $2, prompt_command_id, $4, launcher, 'running' from runs where run_id = $1
     on conflict (run_id, epoch) do update set phase = excluded.phase, updated_at = now()`,
    [runner.runId, runner.epoch, newId(idPrefixes.runnerJob), runner.jobName],
  );
  await appendEvents(tx, runner.runId, runner.epoch, [
    {
      type: 'attempt_started',
      payload: { attempt: runner.epoch, runnerId: runner.runnerId, mode: attempt.mode, reused: false },
    },
  ]);
}

/**
 * Registers the runner of a run with launcher `external`, which has no launch token: the row that a launcher would have written
 * (decisions.md, Auth). The first runner id that comes keeps the attempt.
 */
export async function ensureExternalRunner(
  pool: Pool,
  runner: Omit<RunnerIdentity, 'jobName'>,
): Promise<RunnerIdentity> {
  const jobName = await withTransaction(pool, async (tx) => {
    // A launcher may be given to the attempt at this moment: it sees this runner, or this sees its.
    await tx.query('select 1 from runs where run_id = $1 for no key update', [runner.runId]);
    const found = await tx.query<{ job_name: string }>(
      'select job_name from attempts where run_id = $1 and epoch = $2',
      [runner.runId, runner.epoch],
    );
    const name = found.rows[0]?.job_name;
    if (name === undefined) throw fenced(`run ${runner.runId} has no attempt that waits for a runner`);
    await tx.query(
      `insert into runners (job_name, tenant_id, session_id, backend_profile, launcher, fingerprint, state, runner_id, idle_timeout_ms,
         expires_at)
       select $1, tenant_id, session_id, backend_profile, 'external', 'external', 'launching', $2, 0, now() + interval '24 hours'
         from runs where run_id = $3
       on conflict (job_name) do nothing`,
      [name, runner.runnerId, runner.runId],
    );
    return name;
  });
  return { ...runner, jobName };
}
