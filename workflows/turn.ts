import {
  CancellationScope,
  isCancellation,
  log,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import type { RecordActivities } from '../activities/index.js';
import type { FirstAttempt } from '../domain/send-plan.js';
import { type AttemptDecision, decideAfterAttempt, type SupervisionVerdict } from '../domain/supervision.js';
import { announcements, createRecords, runners, supervisor } from './activity-proxies.js';
import { describeFailure, failureKindOf } from './failures.js';
import { cancelUpdate, stateKey, steerSignal, type TurnInput } from './messages.js';

type Finish = Extract<AttemptDecision, { kind: 'finish' }>;

/** How a turn ended, as stored; a failed turn is a result, not a failed workflow. */
export interface TurnResult {
  readonly runId: string;
  readonly status: string;
  readonly attempts: number;
}

/**
 * One per run: launch, supervise, decide, finish, announce (architecture.md 4.2). Nothing here depends on a steer or a heartbeat: both go from
 * the API to the runner through Postgres, so a turn costs a fixed number of history events however long it lasts.
 */
export async function turnWorkflow(input: TurnInput): Promise<TurnResult> {
  const { runId } = input;
  const records = createRecords();
  let steers = 0;
  let epoch = 0;
  let jobName: string | null = null;
  const show = (state: string) => {
    upsertSearchAttributes([{ key: stateKey, value: state }]);
    setCurrentDetails(`${state}; attempt ${epoch}; steers ${steers}`);
  };
  setHandler(cancelUpdate, async ({ reason }) => ({
    runId,
    ...(await records.requestCancel({ runId, reason })),
  }));
  setHandler(steerSignal, () => {
    steers += 1;
  });

  const finish = await runAttempts();
  return CancellationScope.nonCancellable(async () => {
    if (finish?.stopRunner === true) await stopBestEffort();
    const { status, nextCommandIds } = finish === null ? superseded : await end(finish);
    await announcements.announceTurnEnd({ runId, nextCommandIds });
    show(status);
    return { runId, status, attempts: epoch };
  });

  async function runAttempts(): Promise<Finish | null> {
    try {
      let attempt = input.first ?? (await currentAttempt());
      if (attempt === null) return null;
      const { maxAttempts } = attempt;
      for (;;) {
        epoch = attempt.epoch;
        jobName = attempt.jobName;
        show('running');
        const decision = await runAttempt(attempt, maxAttempts);
        if (decision.kind === 'leave') return null;
        if (decision.kind === 'finish') return decision;
        show('retrying');
        log.warn('the attempt is tried again', { runId, epoch, reason: decision.reason });
        await stop(attempt.jobName);
        attempt = await records.writeAttempt({ runId, epoch: epoch + 1 });
      }
    } catch (error) {
      return finishAfter(error);
    }
  }

  /** Where the run stands, for an execution that was not told: null when it has ended. */
  async function currentAttempt(): Promise<FirstAttempt | null> {
    const { terminal, attempt } = await records.openTurn({ runId });
    return terminal ? null : attempt;
  }

  async function runAttempt(
    attempt: { epoch: number; jobName: string; reused: boolean; launcher: string },
    maxAttempts: number,
  ): Promise<AttemptDecision> {
    if (!attempt.reused && attempt.launcher !== 'external') {
      await runners.launchRunner.executeWithOptions({ summary: `launch ${attempt.jobName}` }, [
        { runId, epoch: attempt.epoch },
      ]);
    }
    const how = attempt.reused ? 'warm runner' : 'runner';
    const seen = await supervisor.superviseRunner.executeWithOptions(
      { summary: `attempt ${attempt.epoch} on ${how} ${attempt.jobName}` },
      [{ runId, epoch: attempt.epoch }],
    );
    const decision = decideAfterAttempt(final(seen.verdict), {
      epoch: attempt.epoch,
      maxAttempts,
      cancelRequested: seen.cancelRequested,
    });
    return decision;
  }

  function stop(job: string): Promise<void> {
    return runners.stopRunner.executeWithOptions({ summary: `end ${job}` }, [{ jobName: job }]);
  }

  /** The run ends with its cause even if its runner cannot be ended; the next launch of the session proves it gone. */
  async function stopBestEffort(): Promise<void> {
    if (jobName === null) return;
    try {
      await stop(jobName);
    } catch (error) {
      log.warn('the runner was not ended', { runId, jobName, error: describeFailure(error) });
    }
  }

  function end({
    terminalStatus,
    failureKind,
    failureMessage,
  }: Finish): ReturnType<RecordActivities['finishTurn']> {
    return records.finishTurn({ runId, end: { terminalStatus, failureKind, failureMessage } });
  }
}

/** Another execution, or the end of the run, came first: there is nothing to store. */
const superseded: { readonly status: string; readonly nextCommandIds: readonly string[] } = {
  status: 'superseded',
  nextCommandIds: [],
};

function final(verdict: SupervisionVerdict): Exclude<SupervisionVerdict, { kind: 'wait' }> {
  return verdict.kind === 'wait' ? { kind: 'superseded' } : verdict;
}

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
