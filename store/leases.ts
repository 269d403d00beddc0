import { z } from 'zod';
import type { Progress } from '../contract/runners.js';
import { heartbeatIntervalMs } from './assignments.js';
import type { Pool, Queryable } from './pool.js';
import { isoTime } from './records.js';
import { explainFence, fenced, type RunnerIdentity } from './runner-identity.js';
import { watchedSql } from './watchers.js';

const beatSchema = z.object({
  leaseExpiresAt: z.string(),
  cancelRequested: z.boolean(),
  cancelReason: z.string().nullable(),
  cancelDeadlineMs: z.number().nullable(),
  pendingCommands: z.number(),
  lastAcceptedSeq: z.number(),
  watched: z.boolean(),
});

/** What a heartbeat answers, without the token that the API adds. */
export type HeartbeatFacts = z.infer<typeof beatSchema> & {
  readonly leaseMs: number;
  readonly nextHeartbeatMs: number;
};

/**
 * Renews the lease of a serving runner, in one statement that checks epoch and owner (architecture.md 5). Progress of the
 * agent counts as such only when its last event is a later one than before; the first word that the model has spoken is noted once.
 *
 * @throws AgentRunError `fenced`.
 */
export async function heartbeat(
  pool: Pool,
  runner: RunnerIdentity,
  beat: { readonly leaseMs: number; readonly progress: Progress | undefined },
): Promise<HeartbeatFacts> {
  const found = await pool.query(
    `with before as (
       select progress ->> 'lastEventAt' as last_event_at from leases where job_name = $1),
     beat as (
       update leases l set expires_at = now() + $5::int * interval '1 millisecond', lease_ms = $5::int, heartbeat_at = now(),
         progress = coalesce($6::jsonb, l.progress)
       from runs r join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch
       where l.job_name = $1 and l.run_id = $2 and l.epoch = $3 and l.runner_id = $4
         and r.run_id = $2 and r.current_epoch = $3 and r.terminal_status is null and a.claimed_by = $4
       returning l.expires_at, r.cancel_requested_at, r.cancel_reason, r.cancel_deadline_ms),
     news as (
       select $8::boolean as output, exists (
         select 1 from before where $7::text is not null and last_event_at is distinct from $7) as progress from beat),
     progressed as (
       update attempts a set last_progress_at = case when n.progress then now() else a.last_progress_at end,
         first_output_at = case when n.output then coalesce(a.first_output_at, now()) else a.first_output_at end
         from news n
        where a.run_id = $2 and a.epoch = $3 and (n.progress or (n.output and a.first_output_at is null)))
     select ${isoTime('b.expires_at')} as "leaseExpiresAt", b.cancel_requested_at is not null as "cancelRequested",
       b.cancel_reason as "cancelReason", b.cancel_deadline_ms as "cancelDeadlineMs",
       (select count(*)::int from commands where run_id = $2 and state = 'pending') as "pendingCommands",
       coalesce((select last_producer_seq from run_log where run_id = $2 and epoch = $3), 0) as "lastAcceptedSeq",
       ${watchedSql('$2')} as watched
     from beat b`,
    [
      runner.jobName,
      runner.runId,
      runner.epoch,
      runner.runnerId,
      beat.leaseMs,
      beat.progress === undefined ? null : JSON.stringify(beat.progress),
      beat.progress?.lastEventAt ?? null,
      beat.progress?.outputSeen ?? false,
    ],
  );
  if (found.rows.length === 0) throw await explainFence(pool, runner);
  return {
    ...beatSchema.parse(found.rows[0]),
    leaseMs: beat.leaseMs,
    nextHeartbeatMs: heartbeatIntervalMs(beat.leaseMs),
  };
}

const idleBeatSchema = z.object({
  state: z.string(),
  leaseExpiresAt: z.string(),
  idleUntil: z.string().nullable(),
  expiresAtMs: z.number(),
  sessionId: z.string(),
});

/**
 * Renews the lease of a runner between turns; also of one that serves, while what it serves is current.
 *
 * @throws AgentRunError `fenced` when the runner is gone, or serves an attempt that was replaced.
 */
export async function idleHeartbeat(
  pool: Pool,
  runner: { readonly runnerId: string; readonly jobName: string },
  leaseMs: number,
): Promise<z.infer<typeof idleBeatSchema>> {
  const found = await pool.query(
    `update leases l set expires_at = now() + $3::int * interval '1 millisecond', lease_ms = $3::int, heartbeat_at = now()
       from runners n
      where l.job_name = $1 and l.runner_id = $2 and n.job_name = $1 and n.runner_id = $2 and n.state <> 'gone'
        and (n.state <> 'serving' or exists (select 1 from runs r where r.run_id = n.run_id and r.current_epoch = n.epoch))
      returning n.state, ${isoTime('l.expires_at')} as "leaseExpiresAt", ${isoTime('n.idle_until')} as "idleUntil",
        (extract(epoch from n.expires_at) * 1000)::float8 as "expiresAtMs", n.session_id as "sessionId"`,
    [runner.jobName, runner.runnerId, leaseMs],
  );
  if (found.rows.length === 0) throw fenced(`runner ${runner.runnerId} is gone or was replaced`);
  return idleBeatSchema.parse(found.rows[0]);
}

/** The attempt that a runner serves, for a heartbeat whose run token has expired during an outage (decisions.md, Auth). */
export async function servedAttempt(
  db: Queryable,
  runner: { readonly runnerId: string; readonly jobName: string },
  runId: string,
): Promise<RunnerIdentity> {
  const found = await db.query<{ epoch: number }>(
    'select epoch from leases where job_name = $1 and runner_id = $2 and run_id = $3',
    [runner.jobName, runner.runnerId, runId],
  );
  const epoch = found.rows[0]?.epoch;
  if (epoch === undefined) throw fenced(`runner ${runner.runnerId} does not serve run ${runId}`);
  return { runId, epoch, ...runner };
}
