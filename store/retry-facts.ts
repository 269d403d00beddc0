import { z } from 'zod';
import { executionPolicySchema } from '../contract/execution-policy.js';
import { runFailureKindSchema } from '../contract/failure-kinds.js';
import type { RetryFacts } from '../domain/retry-decision.js';
import { hardLeftMs } from '../domain/supervision.js';
import type { Queryable } from './pool.js';
import { type AttemptKey, hardLimitStart } from './supervision-facts.js';

const rowSchema = z.object({
  nowMs: z.number(),
  policy: executionPolicySchema,
  cancelRequested: z.boolean(),
  canResume: z.boolean(),
  isFree: z.boolean(),
  startedAtMs: z.number().nullable(),
  claimedAtMs: z.number().nullable(),
  pausedSinceMs: z.number().nullable(),
  pausedMs: z.number(),
  deadlineAtMs: z.number().nullable(),
  providerParkedMs: z.number(),
  providerParks: z.number(),
  former: z.array(z.object({ failureKind: runFailureKindSchema.nullable(), begun: z.boolean() })),
});
const milliseconds = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`;

/**
 * Whether an attempt (its alias) that ended by the loss of its runner does not count: it was handed to an idle runner that was dead already, so nothing
 * of the turn began. Once per run.
 */
export const freeAttempt = (attempt: string) => `(${attempt}.first_event_at is null
  and exists (select 1 from runner_jobs j where j.run_id = ${attempt}.run_id and j.epoch = ${attempt}.epoch and j.reused)
  and not exists (select 1 from attempts e join runner_jobs k on k.run_id = e.run_id and k.epoch = e.epoch
    where e.run_id = ${attempt}.run_id and e.epoch < ${attempt}.epoch and not e.counted and k.reused and e.end_failure_kind = 'runner-lost'))`;

/**
 * What the decision after attempt `epoch` needs to know (domain/retry-decision.ts), all from Postgres: a workflow that was restarted decides the
 * same. Undefined when the attempt was never written.
 */
export async function loadRetryFacts(
  db: Queryable,
  { runId, epoch }: AttemptKey,
): Promise<RetryFacts | undefined> {
  const found = await db.query(
    `select ${milliseconds('clock_timestamp()')} as "nowMs", r.execution_policy as policy,
       r.cancel_requested_at is not null as "cancelRequested",
       not (coalesce(n.capabilities ->> 'messageIds' = 'false', false)
         and exists (select 1 from commands c where c.command_id = r.prompt_command_id and c.acknowledged_at is not null)) as "canResume", ${milliseconds(hardLimitStart)} as "startedAtMs",
       ${milliseconds('a.claimed_at')} as "claimedAtMs", ${milliseconds('r.paused_since')} as "pausedSinceMs",
       r.paused_ms as "pausedMs", ${milliseconds('r.deadline_at')} as "deadlineAtMs", r.provider_parked_ms as "providerParkedMs",
       (select count(*)::int from attempts f
         where f.run_id = r.run_id and f.epoch < $2 and not f.counted and f.end_failure_kind like 'provider-%') as "providerParks",
       ${freeAttempt('a')} as "isFree",
       coalesce((select jsonb_agg(jsonb_build_object('failureKind', f.end_failure_kind, 'begun', f.first_event_at is not null)
           order by f.epoch)
         from attempts f where f.run_id = r.run_id and f.epoch < $2 and f.counted), '[]') as former
     from runs r join attempts a on a.run_id = r.run_id and a.epoch = $2 left join runners n on n.job_name = a.job_name
      where r.run_id = $1`,
    [runId, epoch],
  );
  if (found.rows.length === 0) return undefined;
  const row = rowSchema.parse(found.rows[0]);
  const { maxAttempts, retryBackoffMs, providerParkMs } = row.policy;
  return {
    nowMs: row.nowMs,
    maxAttempts,
    retryBackoffMs,
    providerParkMs,
    cancelRequested: row.cancelRequested,
    canResume: row.canResume,
    isFree: row.isFree,
    hardLeftMs: hardLeftMs(row),
    deadlineLeftMs: row.deadlineAtMs === null ? null : Math.max(0, row.deadlineAtMs - row.nowMs),
    providerParkedMs: row.providerParkedMs,
    providerParks: row.providerParks,
    former: row.former,
  };
}
