import { z } from 'zod';
import { providerEvidenceSchema } from '../contract/commands.js';
import { AgentRunError } from '../contract/errors.js';
import { executionPolicySchema } from '../contract/execution-policy.js';
import { runFailureKindSchema } from '../contract/failure-kinds.js';
import { launcherSchema } from '../contract/runs.js';
import {
  commandStateSchema,
  runnerJobPhaseSchema,
  runnerStateSchema,
  runStatusSchema,
  steerDeliverySchema,
  terminalStatusSchema,
} from '../contract/states.js';
import type { RunFacts } from '../domain/run-facts.js';
import type { SteerFacts } from '../domain/steer-delivery.js';
import type { Queryable } from './pool.js';

/** Whole milliseconds: what is told of ages and remains is their difference. */
const ms = (expression: string) => `round(extract(epoch from ${expression}) * 1000)::float8`;
const time = z.number().nullable();

const attemptSchema = z.object({
  jobName: z.string(),
  claimDeadlineMs: z.number(),
  claimedBy: z.string().nullable(),
  claimedAtMs: time,
  firstEventAtMs: time,
  firstOutputAtMs: time,
  lastProgressAtMs: time,
  outcome: terminalStatusSchema.nullable(),
  provider: providerEvidenceSchema.nullable().catch(null),
  outcomeAtMs: time,
  endedAtMs: time,
  endFailureKind: z.string().nullable(),
  endReason: z.string().nullable(),
  leaseExpiresAtMs: time,
  runner: runnerStateSchema.nullable(),
  jobId: z.string().nullable(),
  jobPhase: runnerJobPhaseSchema.nullable(),
  pod: z.object({
    wait: z.enum(['place', 'volume', 'image', 'start']).nullable(),
    message: z.string().nullable(),
    sinceMs: time,
    nodeName: z.string().nullable(),
  }),
});

const instant = z.iso
  .datetime({ offset: true })
  .nullish()
  .transform((text) => (text == null ? null : Date.parse(text)))
  .catch(null);
const activitySchema = z
  .object({
    seq: z.number(),
    epoch: z.number(),
    eventId: z.string().nullish().default(null),
    at: instant,
    type: z.string(),
    activityKind: z.string(),
    status: z.string().nullish().default(null),
    toolName: z.string().nullish().default(null),
    itemId: z.string().nullish().default(null),
    summary: z.string().nullish().default(null),
  })
  .transform(({ at, ...activity }) => ({ ...activity, atMs: at }));
const agentErrorSchema = z
  .object({
    seq: z.number(),
    epoch: z.number(),
    at: instant,
    willRetry: z.boolean(),
    codexErrorInfo: z.string().nullish().default(null),
    providerStatus: z.number().nullish().default(null),
  })
  .transform(({ at, ...error }) => ({ ...error, atMs: at }));
const disconnectSchema = z.object({ seq: z.number(), epoch: z.number() });

const usageSchema = z.object({
  requests: z.number(),
  inputTokens: z.number(),
  cachedInputTokens: z.number(),
  outputTokens: z.number(),
  reasoningOutputTokens: z.number(),
  totalTokens: z.number(),
});
export type UsageCounts = z.infer<typeof usageSchema>;

const requestSchema = z.object({
  requestId: z.string(),
  kind: z.string(),
  summary: z.string(),
  askedAtMs: z.number(),
  expiresAtMs: time,
});
const steerSchema = z.object({
  commandId: z.string(),
  state: commandStateSchema,
  recorded: steerDeliverySchema.nullable(),
  createdAtMs: z.number(),
  acknowledgedAtMs: time,
  deliveredAtMs: time,
  finishedAtMs: time,
  nextCommandId: z.string().nullable(),
});

const rowSchema = z.object({
  nowMs: z.number(),
  sessionId: z.string(),
  commandId: z.string().nullable(),
  status: runStatusSchema,
  terminalStatus: terminalStatusSchema.nullable(),
  failureKind: runFailureKindSchema.nullable(),
  failureMessage: z.string().nullable(),
  launcher: launcherSchema,
  policy: executionPolicySchema,
  epoch: z.number(),
  createdAtMs: z.number(),
  commandCreatedAtMs: time,
  startedAtMs: time,
  finishedAtMs: time,
  deadlineAtMs: time,
  cancelRequestedAtMs: time,
  pausedSinceMs: time,
  pausedMs: z.number(),
  parkedAtMs: time,
  parkedUntilMs: time,
  parkedReason: z.enum(['person', 'provider-limit']).nullable(),
  sessionEvicted: z.boolean(),
  lastSeq: z.number(),
  lastEventAtMs: time,
  attempt: attemptSchema.nullable(),
  formerAttempts: z.array(
    z.object({ epoch: z.number(), failureKind: z.string().nullable(), counted: z.boolean() }),
  ),
  request: requestSchema.nullable(),
  lastResolvedAtMs: time,
  steer: steerSchema.nullable(),
  finalMessage: z.string().nullable(),
  diff: z.string().nullable(),
  proxyUsage: usageSchema.nullable(),
  agentUsage: z.record(z.string(), usageSchema),
  lastActivity: activitySchema.nullable(),
  lastError: agentErrorSchema.nullable(),
  recoveredSeq: z.number().nullable(),
  lastDisconnect: disconnectSchema.nullable(),
  late: z.number(),
});

/** What Postgres knows about a run at `nowMs`, and what its result shows as it is stored. */
export interface LoadedRun {
  readonly nowMs: number;
  readonly facts: RunFacts;
  readonly steer: SteerFacts | null;
  readonly finalMessage: string | null;
  readonly diff: string | null;
  readonly proxyUsage: UsageCounts | null;
  /** The last report of each attempt. */
  readonly agentUsage: readonly UsageCounts[];
  readonly late: number;
}

/**
 * Loads the facts of a run in one statement, by Postgres' own clock. It touches rows of the run itself, of its few attempts, and one each of lease, log
 * head, projection, request and steer: never the log (docs/adr/0014).
 *
 * `commandId` chooses whose age is told; default: the prompt's.
 *
 * @throws AgentRunError `not-found`, also for a run of another tenant.
 */
export async function loadRun(
  db: Queryable,
  runId: string,
  options: { readonly commandId?: string | undefined; readonly tenantId?: string | undefined },
): Promise<LoadedRun> {
  const found = await db.query(
    `select ${ms('clock_timestamp()')} as "nowMs", r.session_id as "sessionId", coalesce($3, r.prompt_command_id) as "commandId",
       r.status, r.terminal_status as "terminalStatus", r.failure_kind as "failureKind", r.failure_message as "failureMessage",
       r.launcher, r.execution_policy as policy, r.current_epoch as epoch, ${ms('r.created_at')} as "createdAtMs",
       (select ${ms('c.created_at')} from commands c where c.command_id = coalesce($3, r.prompt_command_id)) as "commandCreatedAtMs",
       ${ms('r.started_at')} as "startedAtMs", ${ms('r.finished_at')} as "finishedAtMs", ${ms('r.deadline_at')} as "deadlineAtMs",
       ${ms('r.cancel_requested_at')} as "cancelRequestedAtMs", ${ms('r.paused_since')} as "pausedSinceMs", r.paused_ms as "pausedMs",
       ${ms('r.parked_at')} as "parkedAtMs", ${ms('r.parked_until')} as "parkedUntilMs", r.parked_reason as "parkedReason",
       coalesce(s.storage_kind = 'evicted', false) as "sessionEvicted",
       coalesce(g.last_seq, 0) as "lastSeq", ${ms('g.last_event_at')} as "lastEventAtMs",
       case when a.run_id is not null then jsonb_build_object(
         'jobName', a.job_name, 'claimDeadlineMs', ${ms('a.claim_deadline_at')}, 'claimedBy', a.claimed_by,
         'claimedAtMs', ${ms('a.claimed_at')}, 'firstEventAtMs', ${ms('a.first_event_at')},
         'firstOutputAtMs', ${ms('a.first_output_at')},
         'lastProgressAtMs', ${ms('a.last_progress_at')}, 'outcome', a.outcome,
         'provider', nullif(a.outcome_body -> 'provider', 'null'), 'outcomeAtMs', ${ms('a.outcome_at')},
         'endedAtMs', ${ms('a.ended_at')}, 'endFailureKind', a.end_failure_kind, 'endReason', a.end_reason,
         'leaseExpiresAtMs', ${ms('l.expires_at')}, 'runner', n.state, 'jobId', j.job_id, 'jobPhase', j.phase,
         'pod', jsonb_build_object('wait', j.pod_wait, 'message', j.pod_message, 'sinceMs', ${ms('j.pod_since')}, 'nodeName', j.node_name)) end as attempt,
       coalesce((select jsonb_agg(jsonb_build_object('epoch', f.epoch, 'counted', f.counted,
           'failureKind', coalesce(f.end_failure_kind, f.outcome_body ->> 'failureKind')) order by f.epoch)
         from attempts f where f.run_id = r.run_id and f.epoch < r.current_epoch), '[]') as "formerAttempts",
       (select jsonb_build_object('requestId', q.request_id, 'kind', q.kind, 'summary', coalesce(q.request ->> 'summary', ''),
           'askedAtMs', ${ms('q.asked_at')}, 'expiresAtMs', ${ms('q.expires_at')})
         from agent_requests q where q.run_id = r.run_id and q.state = 'pending' order by q.request_id limit 1) as request,
       (select ${ms('max(q.resolved_at)')} from agent_requests q where q.run_id = r.run_id) as "lastResolvedAtMs",
       (select jsonb_build_object('commandId', c.command_id, 'state', c.state, 'recorded', c.steer_delivery,
           'createdAtMs', ${ms('c.created_at')}, 'acknowledgedAtMs', ${ms('c.acknowledged_at')},
           'deliveredAtMs', ${ms('c.delivered_at')}, 'finishedAtMs', ${ms('c.finished_at')}, 'nextCommandId', c.next_command_id)
         from commands c where c.run_id = r.run_id and c.type = 'steer' order by c.seq desc limit 1) as steer,
       p.final_message as "finalMessage", p.diff, p.proxy_usage as "proxyUsage", coalesce(p.agent_usage, '{}') as "agentUsage",
       p.last_activity as "lastActivity", p.last_error as "lastError", p.recovered_seq as "recoveredSeq",
       p.last_disconnect as "lastDisconnect", coalesce(p.late_events, 0) as late
     from runs r
     left join sessions s on s.session_id = r.session_id
     left join run_log g on g.run_id = r.run_id
     left join run_projections p on p.run_id = r.run_id
     left join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch
     left join leases l on l.job_name = a.job_name and l.run_id = r.run_id and l.epoch = r.current_epoch
     left join runners n on n.job_name = a.job_name
     left join runner_jobs j on j.run_id = r.run_id and j.epoch = r.current_epoch
     where r.run_id = $1 and s.deleted_at is null and ($2::text is null or r.tenant_id = $2)`,
    [runId, options.tenantId ?? null, options.commandId ?? null],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  return loadedRun(runId, rowSchema.parse(found.rows[0]));
}

function loadedRun(runId: string, row: z.infer<typeof rowSchema>): LoadedRun {
  const {
    nowMs,
    epoch,
    attempt,
    parkedAtMs,
    parkedUntilMs,
    parkedReason,
    request,
    steer,
    finalMessage,
    diff,
    proxyUsage,
    agentUsage,
    late,
    ...run
  } = row;
  const facts: RunFacts = {
    runId,
    ...run,
    parked:
      parkedAtMs === null || parkedReason === null
        ? null
        : { reason: parkedReason, sinceMs: parkedAtMs, untilMs: parkedUntilMs },
    attempt: attempt === null ? null : attemptFacts(epoch, attempt),
    pendingRequest: request,
  };
  return { nowMs, facts, steer, finalMessage, diff, proxyUsage, agentUsage: Object.values(agentUsage), late };
}

function attemptFacts(epoch: number, row: z.infer<typeof attemptSchema>): RunFacts['attempt'] {
  const { jobId, jobPhase, pod, ...attempt } = row;
  const isNoted = pod.wait !== null || pod.message !== null || pod.nodeName !== null;
  return {
    epoch,
    ...attempt,
    job: jobId === null || jobPhase === null ? null : { jobId, phase: jobPhase, pod: isNoted ? pod : null },
  };
}
