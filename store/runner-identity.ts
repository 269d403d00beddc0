import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { Queryable, Transaction } from './pool.js';

/** Who writes: a runner instance, and the attempt that it serves. From its run token (decisions.md, Auth). */
export interface RunnerIdentity {
  readonly runId: string;
  readonly epoch: number;
  readonly runnerId: string;
  readonly jobName: string;
}

/** The answer to a runner whose attempt is no longer the one that counts: it stops. */
export function fenced(message: string): AgentRunError {
  return new AgentRunError('fenced', message);
}

const attemptColumns = 'r.current_epoch, r.terminal_status, a.claimed_by';
const attemptRowSchema = z.object({
  current_epoch: z.number(),
  terminal_status: z.string().nullable(),
  claimed_by: z.string().nullable(),
});

/** Why this runner may not write, if so. */
function fenceReason(row: unknown, runner: RunnerIdentity): string | undefined {
  if (row === undefined) return `run ${runner.runId} does not exist`;
  const run = attemptRowSchema.parse(row);
  if (run.terminal_status !== null) return `run ${runner.runId} has ended`;
  if (run.current_epoch !== runner.epoch) {
    return `attempt ${runner.epoch} of run ${runner.runId} was replaced by attempt ${run.current_epoch}`;
  }
  if (run.claimed_by !== runner.runnerId) {
    return `attempt ${runner.epoch} of run ${runner.runId} belongs to another runner`;
  }
  return undefined;
}

/**
 * Locks the run's row and checks that the identity's attempt is current and its own (architecture.md 5).
 *
 * @throws AgentRunError `fenced`.
 */
export async function lockRunForRunner(tx: Transaction, runner: RunnerIdentity): Promise<void> {
  const found = await tx.query(
    `select ${attemptColumns} from runs r left join attempts a on a.run_id = r.run_id and a.epoch = $2
      where r.run_id = $1 for no key update of r`,
    [runner.runId, runner.epoch],
  );
  const reason = fenceReason(found.rows[0], runner);
  if (reason !== undefined) throw fenced(reason);
}

/**
 * For a runner's reads: an attempt that does not count any more is told so here too.
 *
 * @throws AgentRunError `fenced`.
 */
export async function requireCurrent(db: Queryable, runner: RunnerIdentity): Promise<void> {
  const reason = await readFenceReason(db, runner);
  if (reason !== undefined) throw fenced(reason);
}

/** The error for a write that matched no row: says why. */
export async function explainFence(db: Queryable, runner: RunnerIdentity): Promise<AgentRunError> {
  return fenced(
    (await readFenceReason(db, runner)) ?? `runner ${runner.runnerId} no longer serves run ${runner.runId}`,
  );
}

async function readFenceReason(db: Queryable, runner: RunnerIdentity): Promise<string | undefined> {
  const found = await db.query(
    `select ${attemptColumns} from runs r left join attempts a on a.run_id = r.run_id and a.epoch = $2 where r.run_id = $1`,
    [runner.runId, runner.epoch],
  );
  return fenceReason(found.rows[0], runner);
}

const externalRowSchema = z.object({
  launcher: z.string(),
  runId: z.string(),
  epoch: z.number(),
  runnerId: z.string().nullable(),
  jobName: z.string().nullable(),
});

/**
 * The identity behind a write with an API token: the runner that claimed the current attempt of a run with launcher `external`
 * (decisions.md, Auth: old clients have no other token).
 *
 * @throws AgentRunError `not-found` for another tenant's or an unknown run, `forbidden` for a run with a launcher of ours,
 * `conflict` before the claim.
 */
export async function externalRunner(
  db: Queryable,
  runId: string,
  tenantId: string | undefined,
): Promise<RunnerIdentity> {
  const found = await db.query(
    `select r.launcher, r.run_id as "runId", r.current_epoch as epoch, a.claimed_by as "runnerId", a.job_name as "jobName"
       from runs r left join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch
      where r.run_id = $1 and ($2::text is null or r.tenant_id = $2)`,
    [runId, tenantId ?? null],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  const { launcher, ...row } = externalRowSchema.parse(found.rows[0]);
  if (launcher !== 'external') {
    throw new AgentRunError(
      'forbidden',
      'only a run with launcher external takes an API token here; others take a run token',
    );
  }
  const { runnerId, jobName } = row;
  if (runnerId === null || jobName === null)
    throw new AgentRunError('conflict', `run ${runId} is not claimed`);
  return { runId, epoch: row.epoch, runnerId, jobName };
}
