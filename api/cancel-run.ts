import type { RunRecord } from '../contract/runs.js';
import { getRun } from '../store/runs.js';
import { cancelPendingRun, requestCancel } from '../store/turn-steps.js';
import type { ApiDeps } from './deps.js';

/**
 * Asks for the end of a run and answers the run as it is then (architecture.md 4.2, cancel). The turn's workflow stores the request; a run
 * that has none yet ends at once. A run that has ended is answered as it is.
 */
export async function cancelRun(
  deps: ApiDeps,
  run: RunRecord,
  reason: string | undefined,
): Promise<RunRecord> {
  if (run.terminalStatus !== null) return run;
  const why = reason === undefined || reason === '' ? null : reason;
  const answer = await deps.gateway.cancelRun(run.id, why);
  if (answer === 'no-workflow' && !(await cancelPendingRun(deps.pool, run.id, why))) {
    // Its workflow has just ended or is about to start; a workflow reads the request when it starts.
    await requestCancel(deps.pool, run.id, why);
  }
  deps.notifier.notify('agentrun_run', run.id);
  deps.notifier.notify('agentrun_attempt', run.id);
  return getRun(deps.pool, run.id);
}
