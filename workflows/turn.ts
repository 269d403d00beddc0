import { CancellationScope, ContinueAsNew, isCancellation, log, setHandler } from '@temporalio/workflow';
import type { RecordActivities } from '../activities/index.js';
import { announcements, runners } from './activity-proxies.js';
import { describeFailure, failureKindOf } from './failures.js';
import { cancelUpdate, steerSignal, type TurnInput, wakeSignal } from './messages.js';
import { type Finish, runAttempts } from './turn-attempts.js';
import { TurnState } from './turn-state.js';

/** How long the end of a run waits for the end of its runner. */
const lastStopMs = 120_000;

/** How a turn ended, as stored; a failed turn is a result, not a failed workflow. */
export interface TurnResult {
  readonly runId: string;
  readonly status: string;
  readonly attempts: number;
}

/**
 * One per run: launch, supervise, decide, retry or park, finish, announce (architecture.md 4.2). Nothing here depends on a steer or a heartbeat:
 * both go from the API to the runner through Postgres, so an attempt costs a fixed number of history events however long it lasts.
 */
export async function turnWorkflow(input: TurnInput): Promise<TurnResult> {
  const { runId } = input;
  const turn = new TurnState(input);
  setHandler(cancelUpdate, async ({ reason, deadlineMs }) => {
    const answer = await turn.records.requestCancel({ runId, reason, deadlineMs: deadlineMs ?? null });
    if (answer.requested) turn.noteCancel();
    return { runId, ...answer };
  });
  setHandler(steerSignal, () => {
    turn.steers += 1;
  });
  setHandler(wakeSignal, ({ cancel }) => {
    if (cancel === true) turn.noteCancel();
    else turn.wake();
  });

  const finish = await attemptsOf(turn);
  return CancellationScope.nonCancellable(async () => {
    const { status, nextCommandIds } = finish.kind === 'leave' ? superseded : await end(turn, finish);
    await announcements.announceTurnEnd({ runId, nextCommandIds });
    turn.show(status);
    return { runId, status, attempts: turn.attempt?.epoch ?? 0 };
  });
}

async function attemptsOf(turn: TurnState): ReturnType<typeof runAttempts> {
  try {
    return await runAttempts(turn);
  } catch (error) {
    if (error instanceof ContinueAsNew) throw error;
    return finishAfter(error);
  }
}

async function end(turn: TurnState, finish: Finish): ReturnType<RecordActivities['finishTurn']> {
  const { terminalStatus, failureKind, failureMessage } = finish;
  const isStopped = finish.stopRunner && (await stopBestEffort(turn));
  const runnerDeleted = isStopped && terminalStatus === 'cancelled' && turn.attempt?.launcher !== 'external';
  return turn.records.finishTurn({
    runId: turn.input.runId,
    end: { terminalStatus, failureKind, failureMessage, runnerDeleted },
  });
}

/** The run ends with its cause even if its runner cannot be ended; the next launch of the session proves it gone. */
async function stopBestEffort(turn: TurnState): Promise<boolean> {
  if (turn.attempt === null) return false;
  const { jobName } = turn.attempt;
  try {
    await runners.stopRunner.executeWithOptions(
      { summary: `end ${jobName}`, scheduleToCloseTimeout: lastStopMs },
      [{ jobName }],
    );
    return true;
  } catch (error) {
    log.warn('the runner was not ended', { jobName, error: describeFailure(error) });
    return false;
  }
}

/** Another execution, or the end of the run, came first: there is nothing to store. */
const superseded: { readonly status: string; readonly nextCommandIds: readonly string[] } = {
  status: 'superseded',
  nextCommandIds: [],
};

/** A turn that could not be run ends with the cause: a cancellation of the workflow itself, or a step that gave up. */
function finishAfter(error: unknown): Finish {
  const cancelled = isCancellation(error);
  return {
    kind: 'finish',
    stopRunner: true,
    terminalStatus: cancelled ? 'cancelled' : 'failed',
    failureKind: cancelled ? 'cancelled' : failureKindOf(error),
    failureMessage: cancelled ? 'the workflow was cancelled' : describeFailure(error),
  };
}
