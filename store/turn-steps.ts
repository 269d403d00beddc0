import type { Outcome } from '../contract/commands.js';
import type { RunFailureKind } from '../contract/failure-kinds.js';
import { isTerminalState, type RunStatus } from '../contract/states.js';
import { livePhases, phaseAtFinish } from '../domain/runner-job-status.js';
import { cancelGraceMs } from '../domain/supervision.js';
import { closePendingRequests, forgetAnswers } from './agent-requests.js';
import { type AttemptSettings, type PreparedAttempt, prepareAttempt } from './attempts.js';
import { appendEvents } from './events.js';
import { refreshPauseClock } from './pause-clock.js';
import { type Pool, type Transaction, withTransaction } from './pool.js';
import { type AttemptRow, currentAttemptRow, type LockedRun, lockSessionAndRun } from './run-lock.js';
import { tellWebhooks } from './webhook-outbox.js';

/** The attempt that was written, or, when something else came first, the former one and what came. */
export interface WrittenAttempt extends PreparedAttempt {
  /** The former attempt has completed after all. */
  readonly completed?: true;
  /** A cancel was asked for between the attempts. */
  readonly cancelRequested?: true;
  /** The run has ended. */
  readonly ended?: true;
}

/**
 * Writes attempt `epoch` (see {@link prepareAttempt}) under the session's lock and ends a park. The end of the former attempt becomes final here
 * (docs/adr/0013): an outcome `completed` that it stored meanwhile, and a cancel, come first, and then nothing is written. A repeat answers the same.
 */
export async function writeAttempt(
  pool: Pool,
  settings: AttemptSettings,
  runId: string,
  epoch: number,
): Promise<WrittenAttempt> {
  return withTransaction(pool, async (tx) => {
    const run = await lockSessionAndRun(tx, runId);
    if (run.current_epoch < epoch && run.current_epoch > 0) {
      // After this lock no batch of the former attempt is under way: what it appends later is fenced.
      await tx.query('select 1 from run_log where run_id = $1 for update', [runId]);
      const first = await whatCameFirst(tx, run);
      if (first !== null)
        return { ...(await prepareAttempt(tx, settings, runId, run.current_epoch)), ...first };
      // Asked by the former attempt after its end was stored: nobody waits for it.
      await closePendingRequests(tx, runId, 'superseded');
    }
    const attempt = await prepareAttempt(tx, settings, runId, epoch);
    await endPark(tx, runId);
    return attempt;
  });
}

async function whatCameFirst(
  tx: Transaction,
  run: LockedRun,
): Promise<Pick<WrittenAttempt, 'completed' | 'cancelRequested' | 'ended'> | null> {
  if (isTerminalState(run.status)) return { ended: true };
  const former = await currentAttemptRow(tx, run);
  if (former?.outcome === 'completed') return { completed: true };
  return run.cancel_requested_at === null ? null : { cancelRequested: true };
}

async function endPark(tx: Transaction, runId: string): Promise<void> {
  await tx.query(
    `update runs set parked_at = null, parked_until = null, parked_reason = null, updated_at = now()
      where run_id = $1 and parked_at is not null`,
    [runId],
  );
  await refreshPauseClock(tx, runId);
}

/** Where a turn's workflow begins: at the attempt that is current, or nowhere when the run has ended. */
export interface OpenedTurn {
  readonly terminal: boolean;
  readonly attempt: PreparedAttempt;
  /** The current attempt is over: the next one is to be written, after a park or at once. */
  readonly between?: 'retry' | 'parked';
  readonly cancelRequested?: true;
}

/** The current attempt of a run for a workflow that starts, or starts again, on it. */
export async function openTurn(pool: Pool, settings: AttemptSettings, runId: string): Promise<OpenedTurn> {
  return withTransaction(pool, async (tx) => {
    const run = await lockSessionAndRun(tx, runId);
    const row = await currentAttemptRow(tx, run);
    const between = run.parked_at === null ? 'retry' : 'parked';
    return {
      terminal: isTerminalState(run.status),
      attempt: await prepareAttempt(tx, settings, runId, Math.max(1, run.current_epoch)),
      ...(row?.ended === true ? { between } : {}),
      ...(run.cancel_requested_at === null ? {} : { cancelRequested: true as const }),
    };
  });
}

/** How a turn ends: the words of an outcome. */
export interface TurnEnd {
  readonly terminalStatus: Outcome['terminalStatus'];
  readonly failureKind: RunFailureKind | null;
  /** May be cut off; where the stored outcome ends the run, its message is taken. */
  readonly failureMessage: string | null;
  /** A cancel had to end the runner: a step of it that the log shows. */
  readonly runnerDeleted?: boolean;
}

/** Of the message of an end the log tells so many characters (requirements.md A.1.a 12); the run's record has all. */
const longestToldMessage = 500;

/** What the finish did: the run's terminal status and the steers that become turns. */
export interface FinishedTurn {
  readonly status: RunStatus;
  readonly nextCommandIds: string[];
}

/**
 * Ends a run, in one transaction (architecture.md 4.2, finish): terminal status, commands, the session's pointers and thread, undelivered
 * steers marked `next-turn`, requests of the agent withdrawn, and the terminal event as the last of the log. Only this makes a run terminal; a
 * repeat answers what is stored. An outcome `completed` of the current attempt comes before `end`, whatever that says.
 */
export async function finishTurn(pool: Pool, runId: string, end: TurnEnd): Promise<FinishedTurn> {
  return withTransaction(pool, (tx) => finishTurnIn(tx, runId, end));
}

async function finishTurnIn(tx: Transaction, runId: string, asked: TurnEnd): Promise<FinishedTurn> {
  const run = await lockSessionAndRun(tx, runId);
  if (isTerminalState(run.status))
    return { status: run.status, nextCommandIds: await nextTurnCommands(tx, run.run_id) };
  const end = bindingEnd(asked, await currentAttemptRow(tx, run));
  await closePendingRequests(tx, runId, 'withdrawn');
  await endPark(tx, runId);
  await tx.query(
    `update runs set status = $2, terminal_status = $2, failure_kind = $3, failure_message = $4, is_open = false,
         finished_at = now(), updated_at = now() where run_id = $1`,
    [runId, end.terminalStatus, end.failureKind, end.failureMessage],
  );
  await endCommands(tx, runId, end.terminalStatus);
  await forgetAnswers(tx, runId);
  await tx.query(
    `update sessions set active_run_id = null, active_command_id = null, last_run_id = $2, last_command_id = $3,
         thread_id = coalesce($4, thread_id), last_activity_at = now(), updated_at = now()
       where session_id = $1 and active_run_id = $2`,
    [run.session_id, runId, run.prompt_command_id, run.thread_id],
  );
  await tx.query(
    'update runner_jobs set phase = $2, updated_at = now() where run_id = $1 and phase = any($3)',
    [runId, phaseAtFinish({ ...end, runnerDeleted: end.runnerDeleted === true }), livePhases],
  );
  const { terminalStatus, failureKind, failureMessage: message } = end;
  await appendEvents(tx, runId, run.current_epoch, [
    ...(end.runnerDeleted === true
      ? [{ type: 'backend_status' as const, payload: { phase: 'runner-deleted' } }]
      : []),
    {
      type: 'terminal_status',
      payload: { terminalStatus, failureKind, message: message?.slice(0, longestToldMessage) ?? null },
    },
  ]);
  await tx.query('update run_log set closed_at = now() where run_id = $1', [runId]);
  await tellWebhooks(tx, 'runEnd', [runId]);
  return { status: end.terminalStatus, nextCommandIds: await nextTurnCommands(tx, runId) };
}

/** How the run ends: as its workflow says, unless the attempt has completed; with the words of the outcome where that is the end. */
function bindingEnd(asked: TurnEnd, attempt: AttemptRow | null): TurnEnd {
  if (attempt?.outcome === 'completed') {
    return { terminalStatus: 'completed', failureKind: null, failureMessage: attempt.failure_message };
  }
  const isOutcome = attempt?.outcome === asked.terminalStatus && attempt.failure_kind === asked.failureKind;
  return isOutcome ? { ...asked, failureMessage: attempt.failure_message } : asked;
}

/** A steer that did not reach the agent becomes the session's next turn; an answer that did not is of no more use. */
async function endCommands(tx: Transaction, runId: string, terminalStatus: string): Promise<void> {
  await tx.query(
    `update commands set
         steer_delivery = case when type = 'steer' and delivered_at is null and steer_delivery is distinct from 'rejected'
           then 'next-turn' else steer_delivery end,
         state = case when type = 'steer' and delivered_at is null then 'cancelled'
           when type = 'answer' and state = 'pending' then 'cancelled'
           when type in ('steer', 'answer') then 'completed' else $2 end,
         finished_at = coalesce(finished_at, now())
       where run_id = $1 and state in ('pending', 'acknowledged')`,
    [runId, terminalStatus],
  );
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
 * request is stored; a terminal run is left alone. A repeat keeps the first reason; a `deadlineMs` of its own counts if it ends sooner.
 */
export async function requestCancel(
  pool: Pool,
  runId: string,
  reason: string | null,
  deadlineMs: number | null = null,
): Promise<{ status: RunStatus; requested: boolean }> {
  return withTransaction(pool, async (tx) => {
    const run = await lockSessionAndRun(tx, runId);
    if (isTerminalState(run.status)) return { status: run.status, requested: false };
    if (run.cancel_requested_at === null) {
      await tx.query(
        `update runs set cancel_requested_at = now(), cancel_reason = $2, cancel_deadline_ms = $3, is_open = false, updated_at = now()
          where run_id = $1`,
        [runId, reason, deadlineMs],
      );
      await appendEvents(tx, runId, run.current_epoch, [
        { type: 'backend_status', payload: { phase: 'cancel-requested', reason } },
      ]);
    } else if (deadlineMs !== null) {
      await tx.query(
        `update runs set updated_at = now(), cancel_deadline_ms = least(coalesce(cancel_deadline_ms, $3::int),
           (extract(epoch from now() - cancel_requested_at) * 1000)::int + $2::int) where run_id = $1`,
        [runId, deadlineMs, cancelGraceMs],
      );
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
    await appendEvents(tx, runId, 0, [
      { type: 'backend_status', payload: { phase: 'cancel-requested', reason } },
    ]);
    await finishTurnIn(tx, runId, {
      terminalStatus: 'cancelled',
      failureKind: 'cancelled',
      failureMessage: reason,
    });
    return true;
  });
}
