import { z } from 'zod';
import { type Outcome, outcomeSchema } from '../contract/commands.js';
import { executionPolicySchema } from '../contract/execution-policy.js';
import type { RunFailureKind } from '../contract/failure-kinds.js';
import { idPrefixes } from '../contract/ids.js';
import type { Launcher } from '../contract/runs.js';
import { isTerminalState, type RunStatus, runStatusSchema } from '../contract/states.js';
import type { SupervisionFacts } from '../domain/supervision.js';
import { activateTurn, addCommand } from './accept-message.js';
import { type AttemptSettings, type PreparedAttempt, prepareAttempt } from './attempts.js';
import { appendEvents } from './events.js';
import { newId } from './new-id.js';
import { type Pool, type Queryable, type Transaction, withTransaction } from './pool.js';

/** Locks session, then run, as every writer of both does. */
async function lockSessionAndRun(tx: Transaction, runId: string) {
  await tx.query(
    'select 1 from sessions where session_id = (select session_id from runs where run_id = $1) for update',
    [runId],
  );
  const row = await tx.query('select * from runs where run_id = $1 for update', [runId]);
  return lockedRunSchema.parse(row.rows[0]);
}
const lockedRunSchema = z.object({
  run_id: z.string(),
  session_id: z.string(),
  status: runStatusSchema,
  current_epoch: z.number(),
  prompt_command_id: z.string().nullable(),
  cancel_requested_at: z.date().nullable(),
  thread_id: z.string().nullable(),
  execution_policy: executionPolicySchema,
});

/** Writes attempt `epoch` (see {@link prepareAttempt}) under the session's lock. */
export async function writeAttempt(
  pool: Pool,
  settings: AttemptSettings,
  runId: string,
  epoch: number,
): Promise<PreparedAttempt> {
  return withTransaction(pool, async (tx) => {
    await lockSessionAndRun(tx, runId);
    return prepareAttempt(tx, settings, runId, epoch);
  });
}

/** Where a turn's workflow begins: at the attempt that is current, or nowhere when the run has ended. */
export interface OpenedTurn {
  readonly terminal: boolean;
  readonly maxAttempts: number;
  readonly attempt: PreparedAttempt;
}

/** The current attempt of a run for a workflow that starts, or starts again, on it. */
export async function openTurn(pool: Pool, settings: AttemptSettings, runId: string): Promise<OpenedTurn> {
  return withTransaction(pool, async (tx) => {
    const run = await lockSessionAndRun(tx, runId);
    return {
      terminal: isTerminalState(run.status),
      maxAttempts: run.execution_policy.maxAttempts,
      attempt: await prepareAttempt(tx, settings, runId, Math.max(1, run.current_epoch)),
    };
  });
}

const factsRowSchema = z.object({
  nowMs: z.number(),
  runStatus: runStatusSchema,
  currentEpoch: z.number(),
  policy: executionPolicySchema,
  cancelRequestedAtMs: z.number().nullable(),
  createdAtMs: z.number(),
  startedAtMs: z.number().nullable(),
  claimDeadlineMs: z.number(),
  claimedAtMs: z.number().nullable(),
  firstEventAtMs: z.number().nullable(),
  lastProgressAtMs: z.number().nullable(),
  outcome: outcomeSchema.nullable(),
  jobName: z.string(),
  leaseExpiresAtMs: z.number().nullable(),
  lastSeq: z.number(),
  lastEventType: z.string().nullable(),
});
const milliseconds = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`;

/** What Postgres knows about attempt `epoch`, by Postgres' own clock. Undefined when it was never written. */
export async function loadSupervisionFacts(
  db: Queryable,
  runId: string,
  epoch: number,
): Promise<Omit<SupervisionFacts, 'process'> | undefined> {
  const found = await db.query(
    `select ${milliseconds('clock_timestamp()')} as "nowMs", r.status as "runStatus", r.current_epoch as "currentEpoch",
       r.execution_policy as policy, ${milliseconds('r.cancel_requested_at')} as "cancelRequestedAtMs",
       ${milliseconds('r.created_at')} as "createdAtMs", ${milliseconds('r.started_at')} as "startedAtMs",
       ${milliseconds('a.claim_deadline_at')} as "claimDeadlineMs", ${milliseconds('a.claimed_at')} as "claimedAtMs",
       ${milliseconds('a.first_event_at')} as "firstEventAtMs", ${milliseconds('a.last_progress_at')} as "lastProgressAtMs",
       a.outcome_body as outcome, a.job_name as "jobName", ${milliseconds('l.expires_at')} as "leaseExpiresAtMs",
       coalesce(g.last_seq, 0) as "lastSeq",
       (select e.type from events e where e.run_id = r.run_id and e.seq = g.last_seq) as "lastEventType"
     from runs r
     join attempts a on a.run_id = r.run_id and a.epoch = $2
     left join run_log g on g.run_id = r.run_id
     left join leases l on l.run_id = r.run_id and l.epoch = a.epoch
     where r.run_id = $1`,
    [runId, epoch],
  );
  return found.rows.length === 0 ? undefined : factsRowSchema.parse(found.rows[0]);
}

/** How a turn ends: the words of an outcome. */
export interface TurnEnd {
  readonly terminalStatus: Outcome['terminalStatus'];
  readonly failureKind: RunFailureKind | null;
  readonly failureMessage: string | null;
}

/** What the finish did: the run's terminal status and the steers that become turns. */
export interface FinishedTurn {
  readonly status: RunStatus;
  readonly nextCommandIds: string[];
}

/**
 * Ends a run, in one transaction (architecture.md 4.2, finish): terminal status, commands, the session's pointers and thread, undelivered
 * steers marked `next-turn`, and the terminal event as the last of the log. Only this makes a run terminal; a repeat answers what is stored.
 */
export async function finishTurn(pool: Pool, runId: string, end: TurnEnd): Promise<FinishedTurn> {
  return withTransaction(pool, (tx) => finishTurnIn(tx, runId, end));
}

async function finishTurnIn(tx: Transaction, runId: string, end: TurnEnd): Promise<FinishedTurn> {
  const run = await lockSessionAndRun(tx, runId);
  if (isTerminalState(run.status))
    return { status: run.status, nextCommandIds: await nextTurnCommands(tx, run.run_id) };
  await tx.query(
    `update runs set status = $2, terminal_status = $2, failure_kind = $3, failure_message = $4, is_open = false,
         finished_at = now(), updated_at = now() where run_id = $1`,
    [runId, end.terminalStatus, end.failureKind, end.failureMessage],
  );
  await tx.query(
    `update commands set
         steer_delivery = case when type = 'steer' and delivered_at is null and steer_delivery is distinct from 'rejected'
           then 'next-turn' else steer_delivery end,
         state = case when type = 'steer' and delivered_at is null then 'cancelled'
           when type = 'steer' then 'completed' else $2 end,
         finished_at = coalesce(finished_at, now())
       where run_id = $1 and state in ('pending', 'acknowledged')`,
    [runId, end.terminalStatus],
  );
  await tx.query(
    `update sessions set active_run_id = null, active_command_id = null, last_run_id = $2, last_command_id = $3,
         thread_id = coalesce($4, thread_id), last_activity_at = now(), updated_at = now()
       where session_id = $1 and active_run_id = $2`,
    [run.session_id, runId, run.prompt_command_id, run.thread_id],
  );
  await tx.query(
    `update runner_jobs set phase = case when $2 = 'completed' then 'succeeded' else 'failed' end, updated_at = now()
        where run_id = $1 and phase in ('creating', 'pending', 'starting', 'running')`,
    [runId, end.terminalStatus],
  );
  await appendEvents(tx, runId, run.current_epoch, [
    {
      type: 'terminal_status',
      payload: {
        terminalStatus: end.terminalStatus,
        failureKind: end.failureKind,
        message: end.failureMessage,
      },
    },
  ]);
  await tx.query('update run_log set closed_at = now() where run_id = $1', [runId]);
  return { status: end.terminalStatus, nextCommandIds: await nextTurnCommands(tx, runId) };
}

async function nextTurnCommands(tx: Transaction, runId: string): Promise<string[]> {
  const found = await tx.query<{ command_id: string }>(
    `select command_id from commands where run_id = $1 and steer_delivery = 'next-turn' and next_command_id is null order by seq`,
    [runId],
  );
  return found.rows.map((row) => row.command_id);
}

/** The turn that a session has going on, for its workflow; `attempt` is set when this look activated it. */
export interface ActiveTurn {
  readonly runId: string;
  readonly launcher: Launcher;
  readonly attempt: PreparedAttempt | null;
}

/**
 * The session's active turn after a look at everything stored: the one that is active; else the messages that came too late for the last
 * turn (the first becomes a turn, the others steer it, in order); else the oldest queued turn; else none. Heals a lost wake-up.
 */
export async function nextTurn(
  pool: Pool,
  settings: AttemptSettings,
  sessionId: string,
): Promise<ActiveTurn | null> {
  return withTransaction(pool, async (tx) => {
    const session = await tx.query<{ active_run_id: string | null }>(
      'select active_run_id from sessions where session_id = $1 for update',
      [sessionId],
    );
    if (session.rows.length === 0) return null;
    const active = await liveRun(tx, session.rows[0]?.active_run_id ?? null);
    if (active !== null) return active;
    const runId =
      (await turnFromLateSteers(tx, settings, sessionId)) ?? (await oldestQueuedRun(tx, sessionId));
    if (runId === null) return null;
    const attempt = await activateTurn(tx, settings, runId);
    return { runId, launcher: attempt.launcher, attempt };
  });
}

async function liveRun(tx: Transaction, runId: string | null): Promise<ActiveTurn | null> {
  if (runId === null) return null;
  const found = await tx.query<{ launcher: Launcher }>(
    'select launcher from runs where run_id = $1 and terminal_status is null',
    [runId],
  );
  const run = found.rows[0];
  return run === undefined ? null : { runId, launcher: run.launcher, attempt: null };
}

async function oldestQueuedRun(tx: Transaction, sessionId: string): Promise<string | null> {
  const found = await tx.query<{ run_id: string }>(
    `select run_id from runs where session_id = $1 and terminal_status is null and session_turn is null
       and prompt_command_id is not null order by run_id limit 1`,
    [sessionId],
  );
  return found.rows[0]?.run_id ?? null;
}

const lateSteerSchema = z.object({ command_id: z.string(), run_id: z.string(), payload: z.json() });

async function turnFromLateSteers(
  tx: Transaction,
  settings: AttemptSettings,
  sessionId: string,
): Promise<string | null> {
  const found = await tx.query(
    `select command_id, run_id, payload from commands
      where session_id = $1 and steer_delivery = 'next-turn' and next_command_id is null order by command_id limit 100`,
    [sessionId],
  );
  const steers = z.array(lateSteerSchema).parse(found.rows);
  const first = steers[0];
  if (first === undefined) return null;
  const runId = await copyRun(tx, settings, first.run_id);
  for (const [index, steer] of steers.entries()) {
    const commandId = newId(idPrefixes.command);
    await addCommand(tx, {
      commandId,
      runId,
      type: index === 0 ? 'turn' : 'steer',
      payload: steer.payload,
      idempotencyKey: null,
    });
    await tx.query('update commands set next_command_id = $2 where command_id = $1', [
      steer.command_id,
      commandId,
    ]);
  }
  return runId;
}

/** A run for the next turn, with the values of the run whose turn had ended too early. */
async function copyRun(tx: Transaction, settings: AttemptSettings, fromRunId: string): Promise<string> {
  const runId = newId(idPrefixes.run);
  await tx.query(
    `insert into runs (run_id, tenant_id, project_id, session_id, conversation_id, session_metadata, backend_profile, provider_id,
       launcher, execution_policy, workspace, labels, metadata, traceparent)
     select $1, tenant_id, project_id, session_id, conversation_id, session_metadata, backend_profile, provider_id, $3, execution_policy,
       workspace, labels, metadata, traceparent from runs where run_id = $2`,
    [runId, fromRunId, settings.launcher],
  );
  await tx.query('insert into run_log (run_id) values ($1)', [runId]);
  return runId;
}

/**
 * Stores a cancel request (architecture.md 4.2: cancel is data). The run stops being open to steers. Answers the status and whether the
 * request is stored; a terminal run is left alone.
 */
export async function requestCancel(
  pool: Pool,
  runId: string,
  reason: string | null,
): Promise<{ status: RunStatus; requested: boolean }> {
  return withTransaction(pool, async (tx) => {
    const run = await lockSessionAndRun(tx, runId);
    if (isTerminalState(run.status)) return { status: run.status, requested: false };
    if (run.cancel_requested_at === null) {
      await tx.query(
        `update runs set cancel_requested_at = now(), cancel_reason = $2, is_open = false, updated_at = now() where run_id = $1`,
        [runId, reason],
      );
      await appendEvents(tx, runId, run.current_epoch, [
        { type: 'backend_status', payload: { phase: 'cancel-requested', reason } },
      ]);
    }
    return { status: run.status, requested: true };
  });
}

/** Ends a run that has no turn yet (created, or queued behind another turn). False when its turn has begun or it has ended. */
export async function cancelPendingRun(pool: Pool, runId: string, reason: string | null): Promise<boolean> {
  return withTransaction(pool, async (tx) => {
    await lockSessionAndRun(tx, runId);
    const changed = await tx.query(
      `update runs set cancel_requested_at = coalesce(cancel_requested_at, now()), cancel_reason = coalesce(cancel_reason, $2),
         is_open = false where run_id = $1 and session_turn is null and terminal_status is null`,
      [runId, reason],
    );
    if (changed.rowCount !== 1) return false;
    await finishTurnIn(tx, runId, {
      terminalStatus: 'cancelled',
      failureKind: 'cancelled',
      failureMessage: reason,
    });
    return true;
  });
}
