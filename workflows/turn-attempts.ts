import { isCancellation, log, patched } from '@temporalio/workflow';
import {
  type AttemptDecision,
  type AttemptEnd,
  decideAfterAttempt,
  type RetryFacts,
  retryRules,
} from '../domain/retry-decision.js';
import type { FirstAttempt } from '../domain/send-plan.js';
import type { FinalVerdict, SupervisionVerdict } from '../domain/supervision.js';
import { runners, supervisor } from './activity-proxies.js';
import { describeFailure, failureKindOf } from './failures.js';
import { decideAsBefore } from './former-decision.js';
import type { TurnState } from './turn-state.js';
import { backOff, proveGone, type Stopped, waitParked } from './turn-waits.js';

export type Finish = Extract<AttemptDecision, { kind: 'finish' }>;
type Leave = { readonly kind: 'leave' };
/** After an attempt: the turn ends, is somebody else's, goes on with the next attempt, or with this one. */
type Step = Finish | Leave | { readonly kind: 'next' } | { readonly kind: 'same' };

const leave: Leave = { kind: 'leave' };

/** Runs attempts until the turn is to end; `leave`: the run has ended, or another attempt than ours is current. */
export async function runAttempts(turn: TurnState): Promise<Finish | Leave> {
  const opened = await open(turn);
  if (opened === null) return leave;
  let step: Step;
  turn.attempt = opened.attempt;
  if (opened.cancelRequested === true) turn.noteCancel();
  if (opened.between === undefined) step = await runAttempt(turn, opened.attempt);
  else step = await resumeBetween(turn, opened.attempt, opened.between);
  for (;;) {
    const attempt = turn.attempt;
    if (step.kind === 'finish' || step.kind === 'leave') return step;
    if (step.kind === 'same') {
      turn.show('running');
      step = await supervise(turn, attempt);
      continue;
    }
    const written = await turn.records.writeAttempt({ runId: turn.input.runId, epoch: attempt.epoch + 1 });
    if (written.ended === true) return leave;
    if (written.completed === true) return completed;
    if (written.cancelRequested === true) return cancelled('cancelled between two attempts', false);
    turn.attempt = written;
    await turn.continueAsNewIfFull();
    step = await runAttempt(turn, written);
  }
}

interface Opened {
  readonly attempt: FirstAttempt;
  readonly between?: 'retry' | 'parked';
  /** A cancel is stored. */
  readonly cancelRequested?: true;
}

/** Where the run stands: told by who started the turn, else read. Null when it has ended. */
async function open(turn: TurnState): Promise<Opened | null> {
  const { first, runId } = turn.input;
  if (first !== undefined) return { attempt: first };
  const { terminal, ...opened } = await turn.records.openTurn({ runId });
  return terminal ? null : opened;
}

async function runAttempt(turn: TurnState, attempt: FirstAttempt): Promise<Step> {
  turn.show('running');
  if (!attempt.reused && attempt.launcher !== 'external') {
    const failed = await launch(turn, attempt);
    if (failed === 'cancelled') return cancelled('cancelled before a runner claimed the run', true);
    if (failed !== null) return afterFailedLaunch(turn, attempt, failed);
  }
  return supervise(turn, attempt);
}

async function launch(turn: TurnState, attempt: FirstAttempt): Promise<AttemptEnd | 'cancelled' | null> {
  const { jobName, epoch } = attempt;
  const input = { runId: turn.input.runId, epoch };
  try {
    const launched = await turn.unlessCancelled(async () => {
      await runners.launchRunner.executeWithOptions({ summary: `launch ${jobName}` }, [input]);
      return null;
    });
    return launched;
  } catch (error) {
    const failureKind = failureKindOf(error);
    if (isCancellation(error) || retryRules[failureKind] === 'never') throw error;
    if (!patched('retry-failed-launch')) throw error;
    return { kind: 'launch-failed', failureKind, message: describeFailure(error) };
  }
}

async function afterFailedLaunch(turn: TurnState, attempt: FirstAttempt, end: AttemptEnd): Promise<Step> {
  const facts = await turn.records.retryFacts({ runId: turn.input.runId, epoch: attempt.epoch });
  if (facts === null) return leave;
  return carryOut(turn, attempt, decideAfterAttempt(end, facts), facts);
}

async function supervise(turn: TurnState, attempt: FirstAttempt): Promise<Step> {
  const { epoch, jobName, maxAttempts } = attempt;
  const how = attempt.reused ? 'warm runner' : 'runner';
  const seen = await supervisor.superviseRunner.executeWithOptions(
    { summary: `attempt ${epoch} on ${how} ${jobName}` },
    [{ runId: turn.input.runId, epoch, launcher: attempt.launcher }],
  );
  if (seen.verdict.kind === 'launcher-given') {
    const given = { ...attempt, launcher: seen.verdict.launcher };
    turn.attempt = given;
    return runAttempt(turn, given);
  }
  const verdict = final(seen.verdict);
  if (seen.retry !== undefined)
    return carryOut(turn, attempt, decideAfterAttempt(verdict, seen.retry), seen.retry);
  const { cancelRequested } = seen;
  const decision = decideAsBefore(verdict, { epoch, maxAttempts, cancelRequested });
  if (decision.kind !== 'retry') return decision;
  turn.show('retrying');
  await runners.stopRunner.executeWithOptions({ summary: `end ${jobName}` }, [{ jobName }]);
  return { kind: 'next' };
}

/** Does what was decided about an attempt that is over (docs/adr/0013): stores its end, proves its runner gone, waits. */
async function carryOut(
  turn: TurnState,
  attempt: FirstAttempt,
  decision: AttemptDecision,
  facts: RetryFacts,
): Promise<Step> {
  if (decision.kind === 'finish' || decision.kind === 'leave') return decision;
  const { runId } = turn.input;
  const { epoch, jobName } = attempt;
  const { failureKind, reason } = decision;
  const isRetry = decision.kind === 'retry';
  const delayMs = isRetry ? decision.delayMs + Math.round(Math.random() * decision.jitterMs) : 0;
  turn.show('retrying', reason);
  log.warn('the attempt is over', { runId, epoch, failureKind, next: decision.kind });
  const after = await turn.records.endAttempt({
    runId,
    epoch,
    failureKind,
    reason,
    counted: isRetry,
    compactNext: isRetry && decision.compactNext,
    retryInMs: isRetry ? delayMs : null,
    park: isRetry
      ? null
      : { reason: decision.parkReason, untilMs: decision.untilMs, delayMs: decision.delayMs },
  });
  if (after === 'leave') return leave;
  if (after === 'completed') return completed;
  if (after === 'cancelled') return cancelled('cancelled by request', true);
  if (after === 'supervise') return { kind: 'same' };
  const stopped = await proveGone(turn, jobName, facts);
  if (stopped !== 'gone') return notGone(stopped, failureKind, jobName);
  if (!isRetry) return afterPark(turn, epoch);
  await backOff(turn, delayMs);
  return { kind: 'next' };
}

/** Goes on where a former execution of this workflow stopped between two attempts. */
async function resumeBetween(
  turn: TurnState,
  attempt: FirstAttempt,
  between: 'retry' | 'parked',
): Promise<Step> {
  const facts = await turn.records.retryFacts({ runId: turn.input.runId, epoch: attempt.epoch });
  if (facts === null) return leave;
  // Stored when no execution was there to be told. Former histories found it later.
  if (facts.cancelRequested && patched('cancel-before-resume')) turn.noteCancel();
  const stopped = await proveGone(turn, attempt.jobName, facts);
  if (stopped !== 'gone') return notGone(stopped, null, attempt.jobName);
  return between === 'parked' ? afterPark(turn, attempt.epoch) : { kind: 'next' };
}

async function afterPark(turn: TurnState, epoch: number): Promise<Step> {
  const parked = await waitParked(turn, epoch);
  switch (parked) {
    case 'over':
      return { kind: 'next' };
    case 'leave':
      return leave;
    case 'cancelled':
      return cancelled('cancelled while the turn was parked', false);
    case 'deadline-exceeded':
      return {
        kind: 'finish',
        stopRunner: false,
        terminalStatus: 'failed',
        failureKind: 'deadline-exceeded',
        failureMessage: 'the deadline of the turn has passed while it was parked',
      };
  }
}

const completed: Finish = {
  kind: 'finish',
  stopRunner: false,
  terminalStatus: 'completed',
  failureKind: null,
  failureMessage: null,
};

const cancelled = (failureMessage: string, stopRunner: boolean): Finish => ({
  kind: 'finish',
  stopRunner,
  terminalStatus: 'cancelled',
  failureKind: 'cancelled',
  failureMessage,
});

/** The end of a turn whose former runner is not proven gone. */
function notGone(
  stopped: Exclude<Stopped, 'gone'>,
  failureKind: Finish['failureKind'],
  jobName: string,
): Finish {
  if (stopped === 'cancelled') return cancelled('cancelled between two attempts', true);
  const isLate = stopped === 'deadline-exceeded';
  const late = isLate ? 'the deadline of the turn has passed: ' : '';
  return {
    kind: 'finish',
    stopRunner: false,
    terminalStatus: 'failed',
    failureKind: isLate ? stopped : (failureKind ?? 'runner-lost'),
    failureMessage: `${late}runner ${jobName} cannot be proven gone, so no other may open its thread: bring its node back or taint it out of service`,
  };
}

function final(verdict: Exclude<SupervisionVerdict, { kind: 'launcher-given' }>): FinalVerdict {
  return verdict.kind === 'wait' ? { kind: 'superseded' } : verdict;
}
