import type { CancelObservation, RunRecord } from '../contract/runs.js';
import { isTerminalState } from '../contract/states.js';
import { readCancelSteps } from '../store/cancel-steps.js';
import { getRun } from '../store/runs.js';
import { cancelPendingRun, requestCancel } from '../store/turn-steps.js';
import type { ApiDeps } from './deps.js';
import { longPoll } from './long-poll.js';

/** What a caller says with a cancel; times in milliseconds. */
export interface CancelOrder {
  readonly reason?: string | undefined;
  /** From the request to the deletion of a runner whose turn has not ended by itself. */
  readonly deadlineMs?: number | undefined;
  /** How long the answer waits for the end. */
  readonly waitMs: number;
}

/** While waiting for an end, a look at least this often: the last step of a turn may send no wake-up. */
const lookMs = 500;

/**
 * Asks for the end of a run (architecture.md 4.2, cancel) and answers the run with what was observed by the end, or by the end of the wait. The
 * turn's workflow stores the request; a run that has none yet ends at once. A run that has ended is answered as it is.
 */
export async function cancelRun(
  deps: ApiDeps,
  run: RunRecord,
  order: CancelOrder,
  signal: AbortSignal,
): Promise<{ readonly run: RunRecord; readonly cancel: CancelObservation }> {
  const requested = run.terminalStatus === null && (await request(deps, run.id, order));
  const after = await longPoll(deps, {
    channel: 'agentrun_run',
    key: run.id,
    waitMs: order.waitMs,
    signal,
    atLeastEveryMs: lookMs,
    look: () => getRun(deps.pool, run.id),
    isDone: (found) => isTerminalState(found.status),
  });
  return { run: after, cancel: await observeCancel(deps, run.id, requested) };
}

/** What the log shows of a run's cancel, beside its status. */
export async function observeCancel(
  deps: ApiDeps,
  runId: string,
  requested: boolean,
): Promise<CancelObservation> {
  const { observed, status } = await readCancelSteps(deps.pool, runId);
  return { requested, observed, runStatus: status };
}

/** What the routes and the gateway make of an absent or blank reason and an absent deadline. */
export function cancelRequestOf(order: CancelOrder): {
  readonly reason: string | null;
  readonly deadlineMs: number | null;
} {
  const reason = order.reason === undefined || order.reason === '' ? null : order.reason;
  return { reason, deadlineMs: order.deadlineMs ?? null };
}

/** False when the run had ended before the request was stored. */
async function request(deps: ApiDeps, runId: string, order: CancelOrder): Promise<boolean> {
  const asked = cancelRequestOf(order);
  const answer = await deps.gateway.cancelRun(runId, asked);
  let requested = answer === 'no-workflow' || answer.requested;
  if (answer === 'no-workflow' && !(await cancelPendingRun(deps.pool, runId, asked.reason))) {
    // Its workflow has just ended or is about to start; a workflow reads the request when it starts.
    requested = (await requestCancel(deps.pool, runId, asked.reason, asked.deadlineMs)).requested;
  }
  deps.notifier.notify('agentrun_run', runId);
  deps.notifier.notify('agentrun_attempt', runId);
  if (answer === 'no-workflow') deps.notifier.notify('agentrun_webhook', 'due');
  return requested;
}
