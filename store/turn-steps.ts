import { z } from 'zod';
import type { Outcome } from '../contract/commands.js';
import { executionPolicySchema } from '../contract/execution-policy.js';
import type { RunFailureKind } from '../contract/failure-kinds.js';
import { isTerminalState, type RunStatus, runStatusSchema } from '../contract/states.js';
import { type AttemptSettings, type PreparedAttempt, prepareAttempt } from './attempts.js';
import { appendEvents } from './events.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';

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
  readonly attempt: PreparedAttempt;
}

/** The current attempt of a run for a workflow that starts, or starts again, on it. */
export async function openTurn(pool: Pool, settings: AttemptSettings, runId: string): Promise<OpenedTurn> {
  return withTransaction(pool, async (tx) => {
    const run = await lockSessionAndRun(tx, runId);
    return {
      terminal: isTerminalState(run.status),
      attempt: await prepareAttempt(tx, settings, runId, Math.max(1, run.current_epoch)),
    };
  });
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
