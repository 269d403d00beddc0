import { z } from 'zod';
import { idPrefixes } from '../contract/ids.js';
import type { AssignmentFacts, DriverCapabilities } from '../contract/runners.js';
import { loadAssignment } from './assignments.js';
import { newId } from './new-id.js';
import type { Pool } from './pool.js';
import { fenced, type RunnerIdentity } from './runner-identity.js';

/** The attempt that a launch token names. */
export interface LaunchIdentity {
  readonly runId: string;
  readonly epoch: number;
  readonly jobName: string;
  readonly jobId: string;
}

const registeredSchema = z.object({ runnerId: z.string(), sessionId: z.string(), expiresAtMs: z.number() });
export type RegisteredRunner = z.infer<typeof registeredSchema>;

/**
 * Makes a supervisor's start the runner instance of its job. A repeat by the same instance answers the same (decisions.md, Auth).
 *
 * @throws AgentRunError `fenced` for another instance, when the runner was told to go, or when its attempt was replaced.
 */
export async function registerRunner(
  pool: Pool,
  launch: LaunchIdentity,
  body: {
    readonly runnerId?: string;
    readonly version: string;
    readonly capabilities: DriverCapabilities;
  },
): Promise<RegisteredRunner> {
  const runnerId = body.runnerId ?? newId(idPrefixes.runner);
  const found = await pool.query(
    `update runners n set runner_id = $2, version = $3, capabilities = $4, updated_at = now()
       from runner_jobs j
      where n.job_name = $1 and (n.runner_id is null or n.runner_id = $2) and n.state not in ('closing', 'gone')
        and j.job_id = $5 and j.job_name = n.job_name and j.run_id = $6 and j.epoch = $7
        and exists (select 1 from runs r where r.run_id = $6 and r.current_epoch = $7)
      returning n.runner_id as "runnerId", n.session_id as "sessionId", (extract(epoch from n.expires_at) * 1000)::float8 as "expiresAtMs"`,
    [
      launch.jobName,
      runnerId,
      body.version,
      JSON.stringify(body.capabilities),
      launch.jobId,
      launch.runId,
      launch.epoch,
    ],
  );
  if (found.rows.length === 0)
    throw fenced(`job ${launch.jobName} is registered to another runner instance, was closed, or replaced`);
  return registeredSchema.parse(found.rows[0]);
}

/** What an idle runner's long poll finds. */
export type NextWork =
  | { readonly kind: 'assignment'; readonly runner: RunnerIdentity; readonly facts: AssignmentFacts }
  | { readonly kind: 'close' }
  | { readonly kind: 'wait' };

const runnerRowSchema = z.object({
  state: z.enum(['launching', 'serving', 'idle', 'closing', 'gone']),
  run_id: z.string().nullable(),
  epoch: z.number().nullable(),
  idle_over: z.boolean(),
  servable: z.boolean(),
  replaced: z.boolean(),
});

/**
 * What a runner is to do next: the run that was handed over to it (again and again until its outcome is stored), close, or wait. A
 * runner whose idle time is over closes by a compare-and-set against the hand-over; the loser goes cold (architecture.md 7).
 *
 * @throws AgentRunError `fenced` for a runner that is not the one of its job, and for one whose attempt was replaced.
 */
export async function nextWork(
  pool: Pool,
  runner: { readonly runnerId: string; readonly jobName: string },
): Promise<NextWork> {
  const found = await pool.query(
    `select n.state, n.run_id, n.epoch, coalesce(n.idle_until <= now(), false) as idle_over,
       coalesce(a.outcome is null and r.terminal_status is null and r.current_epoch = n.epoch and a.claimed_by = $2, false) as servable,
       n.state = 'serving' and coalesce(r.current_epoch > n.epoch, false) as replaced
     from runners n
     left join runs r on r.run_id = n.run_id
     left join attempts a on a.run_id = n.run_id and a.epoch = n.epoch
     where n.job_name = $1 and n.runner_id = $2`,
    [runner.jobName, runner.runnerId],
  );
  if (found.rows.length === 0) throw fenced(`runner ${runner.runnerId} is not registered`);
  const row = runnerRowSchema.parse(found.rows[0]);
  if (row.replaced) throw fenced(`attempt ${row.epoch} of run ${row.run_id} was replaced`);
  switch (row.state) {
    case 'launching':
      return { kind: 'wait' };
    case 'closing':
    case 'gone':
      return { kind: 'close' };
    case 'serving': {
      if (!row.servable || row.run_id === null || row.epoch === null) return { kind: 'close' };
      const identity: RunnerIdentity = { ...runner, runId: row.run_id, epoch: row.epoch };
      return { kind: 'assignment', runner: identity, facts: await loadAssignment(pool, identity) };
    }
    case 'idle': {
      if (!row.idle_over) return { kind: 'wait' };
      const closed = await pool.query(
        `update runners set state = 'closing', updated_at = now() where job_name = $1 and runner_id = $2 and state = 'idle' and idle_until <= now()`,
        [runner.jobName, runner.runnerId],
      );
      // Lost against a hand-over: the next look finds it.
      return closed.rowCount === 1 ? { kind: 'close' } : { kind: 'wait' };
    }
  }
}
