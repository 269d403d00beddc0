import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import { executionPolicySchema } from '../contract/execution-policy.js';
import { runFailureKindSchema } from '../contract/failure-kinds.js';
import type { RunResult } from '../contract/runs.js';
import { runStatusSchema, terminalStatusSchema } from '../contract/states.js';
import { livenessPhase } from '../domain/liveness-phase.js';
import type { Queryable } from './pool.js';
import { isoTime } from './records.js';

const ageMs = (column: string) => `(extract(epoch from clock_timestamp() - ${column}) * 1000)::float8`;

const rowSchema = z.object({
  status: runStatusSchema,
  terminal_status: terminalStatusSchema.nullable(),
  failure_kind: runFailureKindSchema.nullable(),
  failure_message: z.string().nullable(),
  prompt_command_id: z.string().nullable(),
  policy: executionPolicySchema,
  attempt: z.number(),
  claimed_by: z.string().nullable(),
  outcome: z.string().nullable(),
  has_job: z.boolean(),
  lease_expires_at: z.string().nullable(),
  lease_age_ms: z.number().nullable(),
  last_seq: z.number(),
  last_event_at: z.string().nullable(),
  last_event_age_ms: z.number().nullable(),
  late: z.number(),
});
type Row = z.infer<typeof rowSchema>;

/**
 * Result of a run: how it stands or ended, its last message and diff, its tokens (contract.md 7.1). Read from the log; nothing is stored.
 *
 * @throws AgentRunError `not-found`, also for a run of another tenant.
 */
export async function getRunResult(
  db: Queryable,
  runId: string,
  options: { readonly commandId?: string | undefined; readonly tenantId?: string | undefined } = {},
): Promise<RunResult> {
  const found = await db.query(
    `select r.status, r.terminal_status, r.failure_kind, r.failure_message, r.prompt_command_id, r.execution_policy as policy,
       r.current_epoch as attempt, a.claimed_by, a.outcome,
       a.job_name is not null as has_job,
       ${isoTime('l.expires_at')} as lease_expires_at, ${ageMs('l.expires_at')} as lease_age_ms,
       coalesce(g.last_seq, 0) as last_seq, ${isoTime('g.last_event_at')} as last_event_at,
       ${ageMs('g.last_event_at')} as last_event_age_ms,
       (select count(*)::int from quarantined_events q where q.run_id = r.run_id) as late
     from runs r
     left join attempts a on a.run_id = r.run_id and a.epoch = r.current_epoch
     left join leases l on l.run_id = r.run_id and l.epoch = r.current_epoch
     left join run_log g on g.run_id = r.run_id
     where r.run_id = $1 and ($2::text is null or r.tenant_id = $2)`,
    [runId, options.tenantId ?? null],
  );
  if (found.rows.length === 0) throw new AgentRunError('not-found', `run ${runId} does not exist`);
  const row = rowSchema.parse(found.rows[0]);
  return {
    runId,
    commandId: options.commandId ?? row.prompt_command_id,
    status: row.status,
    terminalStatus: row.terminal_status,
    failureKind: row.failure_kind,
    failureMessage: row.failure_message,
    lastSeq: row.last_seq,
    finalMessage: await lastPayloadText(db, runId, 'agent_message', 'text'),
    diff: await lastPayloadText(db, runId, 'diff', 'diff'),
    usage: await usageOf(db, runId),
    late: row.late,
    liveness: livenessOf(row),
    valuesPrinted: false,
  };
}

function livenessOf(row: Row): RunResult['liveness'] {
  const terminal = row.terminal_status !== null;
  const leaseExpired = row.claimed_by !== null && (row.lease_age_ms === null || row.lease_age_ms >= 0);
  return {
    phase: livenessPhase({
      status: row.status,
      terminal,
      attempt: row.attempt,
      hasRunnerJob: row.has_job,
      claimed: row.claimed_by !== null,
      outcomeStored: row.outcome !== null,
      leaseExpired,
      lastEventAgeMs: row.last_event_age_ms,
      idleTimeoutMs: row.policy.idleTimeoutMs,
    }),
    active: !terminal,
    lastSeq: row.last_seq,
    lastEventAt: row.last_event_at,
    lastEventAgeMs: row.last_event_age_ms,
    lease: {
      claimedBy: row.claimed_by,
      leaseExpiresAt: row.lease_expires_at,
      leaseExpired,
      leaseRemainingMs: row.lease_age_ms === null ? null : Math.max(0, -row.lease_age_ms),
      valuesPrinted: false,
    },
    valuesPrinted: false,
  };
}

async function lastPayloadText(
  db: Queryable,
  runId: string,
  type: string,
  field: string,
): Promise<string | null> {
  const found = await db.query<{ text: string | null }>(
    'select payload ->> $3 as text from events where run_id = $1 and type = $2 order by seq desc limit 1',
    [runId, type, field],
  );
  return found.rows[0]?.text ?? null;
}

const counters = [
  'inputTokens',
  'cachedInputTokens',
  'outputTokens',
  'reasoningOutputTokens',
  'totalTokens',
] as const;
const usageRowSchema = z.object({
  source: z.enum(['proxy', 'agent']),
  requests: z.number(),
  inputTokens: z.number(),
  cachedInputTokens: z.number(),
  outputTokens: z.number(),
  reasoningOutputTokens: z.number(),
  totalTokens: z.number(),
});

/** The proxy reports each request; the agent reports the turn so far, so of each attempt its last report counts. */
async function usageOf(db: Queryable, runId: string): Promise<RunResult['usage']> {
  const sums = counters
    .map((name) => `coalesce(sum((payload ->> '${name}')::float8), 0) as "${name}"`)
    .join(', ');
  const found = await db.query(
    `with usage as (
       select payload ->> 'source' as source, epoch, seq, payload,
         max(seq) over (partition by payload ->> 'source', epoch) as newest
       from events where run_id = $1 and type = 'usage')
     select source, count(*)::int as requests, ${sums} from usage
      where source = 'proxy' or (source = 'agent' and seq = newest) group by source order by source desc limit 1`,
    [runId],
  );
  const parsed = usageRowSchema.safeParse(found.rows[0]);
  if (!parsed.success) return null;
  const { source: _source, ...usage } = parsed.data;
  return usage;
}
