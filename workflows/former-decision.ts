import type { AttemptDecision } from '../domain/retry-decision.js';
import type { FinalVerdict } from '../domain/supervision.js';

type Decision = Extract<AttemptDecision, { kind: 'finish' | 'leave' }> | { kind: 'retry'; reason: string };

/**
 * What 0.1.0 did after an attempt: for turns whose supervising activity answered without the facts for a retry, so that their histories replay.
 * Only an attempt whose agent had not begun was tried again, and nothing was stored about its end.
 */
export function decideAsBefore(
  verdict: FinalVerdict,
  attempt: { readonly epoch: number; readonly maxAttempts: number; readonly cancelRequested: boolean },
): Decision {
  const hasAttempts = attempt.epoch < attempt.maxAttempts;
  switch (verdict.kind) {
    case 'superseded':
      return { kind: 'leave' };
    case 'outcome': {
      const { terminalStatus, failureKind = null, failureMessage = null } = verdict.outcome;
      return { kind: 'finish', stopRunner: false, terminalStatus, failureKind, failureMessage };
    }
    case 'runner-gone':
    case 'lease-lost':
      if (attempt.cancelRequested) return cancelled('the runner ended after the cancel was asked');
      if (!verdict.begun && hasAttempts)
        return { kind: 'retry', reason: 'the runner was lost before the agent began' };
      return failed('runner-lost', 'the runner ended without reporting an outcome');
    case 'never-claimed':
      if (attempt.cancelRequested) return cancelled('cancelled before a runner claimed the run');
      if (hasAttempts) return { kind: 'retry', reason: 'no runner claimed the run in time' };
      return failed('runner-never-claimed', 'no runner claimed the run within the claim timeout');
    case 'timeout': {
      const message = `the ${verdict.timeoutKind} limit of ${verdict.limitMs} ms has passed`;
      return failed(`${verdict.timeoutKind}-timeout`, message);
    }
    case 'cancel-overdue':
      return cancelled('the runner did not answer the cancel and was ended');
    case 'deadline-exceeded':
    case 'park-waiting':
      return failed('deadline-exceeded', 'the deadline of the turn has passed');
  }
}

type Finish = Extract<AttemptDecision, { kind: 'finish' }>;

const failed = (failureKind: Finish['failureKind'], failureMessage: string): Finish => ({
  kind: 'finish',
  stopRunner: true,
  terminalStatus: 'failed',
  failureKind,
  failureMessage,
});
const cancelled = (failureMessage: string): Finish => ({
  kind: 'finish',
  stopRunner: true,
  terminalStatus: 'cancelled',
  failureKind: 'cancelled',
  failureMessage,
});
