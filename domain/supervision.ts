import type { Outcome } from '../contract/commands.js';
import type { ExecutionPolicy } from '../contract/execution-policy.js';
import type { RunFailureKind } from '../contract/failure-kinds.js';

/** What is known about the runner's process or pod itself. `unknown`: nobody can see it (launcher `external`). */
export type ProcessFate =
  | { readonly state: 'alive' }
  | { readonly state: 'unknown' }
  | { readonly state: 'gone'; readonly sinceMs: number };

/** Facts about one attempt; times are epoch milliseconds of Postgres' clock. */
export interface SupervisionFacts {
  readonly nowMs: number;
  readonly runStatus: string;
  readonly currentEpoch: number;
  readonly policy: ExecutionPolicy;
  readonly cancelRequestedAtMs: number | null;
  readonly createdAtMs: number;
  readonly startedAtMs: number | null;
  readonly claimDeadlineMs: number;
  readonly claimedAtMs: number | null;
  readonly firstEventAtMs: number | null;
  readonly lastProgressAtMs: number | null;
  readonly outcome: Outcome | null;
  readonly jobName: string;
  readonly leaseExpiresAtMs: number | null;
  readonly lastSeq: number;
  readonly lastEventType: string | null;
  readonly process: ProcessFate;
}

/** How an attempt stands. Everything but `wait` is final for the attempt. `begun`: the agent had sent an event. */
export type SupervisionVerdict =
  | { readonly kind: 'wait'; readonly phase: AttemptPhase; readonly nextDeadlineMs: number | null }
  | { readonly kind: 'superseded' }
  | { readonly kind: 'outcome'; readonly outcome: Outcome }
  | { readonly kind: 'runner-gone'; readonly begun: boolean }
  | { readonly kind: 'never-claimed' }
  | { readonly kind: 'lease-lost'; readonly begun: boolean }
  | {
      readonly kind: 'timeout';
      readonly timeoutKind: 'first-output' | 'idle' | 'hard';
      readonly limitMs: number;
    }
  | { readonly kind: 'cancel-overdue' };

export type AttemptPhase = 'starting' | 'claimed' | 'running' | 'lease-expired' | 'cancelling';

/** A word of the runner about its end may still be on its way when its process is seen gone (architecture.md 4.2). */
export const lastWordMs = 1_000;
/** A runner that was asked to cancel interrupts, cleans and kills within this time; then the launcher does it. */
export const cancelGraceMs = 15_000;

/**
 * How does the attempt stand? The first matching row wins.
 *
 * | # | condition | verdict |
 * |---|---|---|
 * | 1 | the run is terminal, or another attempt is current | `superseded` |
 * | 2 | an outcome is stored | `outcome` |
 * | 3 | the process is gone for {@link lastWordMs} | `runner-gone` |
 * | 4 | a cancel was asked {@link cancelGraceMs} ago | `cancel-overdue` |
 * | 5 | not claimed and the claim deadline has passed | `never-claimed` |
 * | 6 | claimed, and older than the hard limit | `timeout` hard |
 * | 7 | the lease expired and the partition grace is over | `lease-lost` |
 * | 8 | lease live, nothing of the agent within the first-output limit | `timeout` first-output |
 * | 9 | lease live, no progress within the idle limit (0: off) | `timeout` idle |
 * | 10 | else | `wait` |
 *
 * Silence counts only while the lease is live: a runner that cannot reach the API is not heard, whatever its agent does (architecture.md 5). The
 * heartbeat that renews the lease brings the progress in the same statement.
 */
export function judgeAttempt(facts: SupervisionFacts, epoch: number): SupervisionVerdict {
  const { nowMs, policy } = facts;
  if (
    ['completed', 'failed', 'blocked', 'cancelled'].includes(facts.runStatus) ||
    facts.currentEpoch !== epoch
  ) {
    return { kind: 'superseded' };
  }
  if (facts.outcome !== null) return { kind: 'outcome', outcome: facts.outcome };
  const begun = facts.firstEventAtMs !== null;
  const deadlines: number[] = [];
  const passed = (deadlineMs: number): boolean => {
    if (nowMs >= deadlineMs) return true;
    deadlines.push(deadlineMs);
    return false;
  };
  if (facts.process.state === 'gone' && passed(facts.process.sinceMs + lastWordMs))
    return { kind: 'runner-gone', begun };
  if (facts.cancelRequestedAtMs !== null && passed(facts.cancelRequestedAtMs + cancelGraceMs)) {
    return { kind: 'cancel-overdue' };
  }
  if (facts.claimedAtMs === null) {
    if (passed(facts.claimDeadlineMs)) return { kind: 'never-claimed' };
    return wait(facts, 'starting', deadlines);
  }
  if (passed((facts.startedAtMs ?? facts.claimedAtMs) + policy.hardTimeoutMs)) {
    return { kind: 'timeout', timeoutKind: 'hard', limitMs: policy.hardTimeoutMs };
  }
  const leaseExpired = facts.leaseExpiresAtMs === null || nowMs >= facts.leaseExpiresAtMs;
  if (leaseExpired && passed((facts.leaseExpiresAtMs ?? facts.claimedAtMs) + policy.partitionGraceMs)) {
    return { kind: 'lease-lost', begun };
  }
  if (leaseExpired) return wait(facts, 'lease-expired', deadlines);
  if (!begun && facts.lastProgressAtMs === null && passed(facts.claimedAtMs + policy.firstOutputTimeoutMs)) {
    return { kind: 'timeout', timeoutKind: 'first-output', limitMs: policy.firstOutputTimeoutMs };
  }
  const lastProgressMs = Math.max(facts.claimedAtMs, facts.lastProgressAtMs ?? 0, facts.firstEventAtMs ?? 0);
  if (policy.idleTimeoutMs > 0 && passed(lastProgressMs + policy.idleTimeoutMs)) {
    return { kind: 'timeout', timeoutKind: 'idle', limitMs: policy.idleTimeoutMs };
  }
  return wait(facts, begun ? 'running' : 'claimed', deadlines);
}

function wait(facts: SupervisionFacts, phase: AttemptPhase, deadlines: number[]): SupervisionVerdict {
  return {
    kind: 'wait',
    phase: facts.cancelRequestedAtMs === null ? phase : 'cancelling',
    nextDeadlineMs: deadlines.length === 0 ? null : Math.min(...deadlines),
  };
}

/** What the turn does after an attempt. `stopRunner`: its processes are to be ended and proven gone first. */
export type AttemptDecision =
  | { readonly kind: 'retry'; readonly stopRunner: true; readonly reason: string }
  | {
      readonly kind: 'finish';
      readonly stopRunner: boolean;
      readonly terminalStatus: Outcome['terminalStatus'];
      readonly failureKind: RunFailureKind | null;
      readonly failureMessage: string | null;
    }
  | { readonly kind: 'leave' };

/**
 * Retry or finish. Today only an attempt whose agent had not begun is tried again: one that had begun ends with its cause, since resuming a
 * thread is not built yet (README, "What works").
 */
export function decideAfterAttempt(
  verdict: Exclude<SupervisionVerdict, { kind: 'wait' }>,
  attempt: { readonly epoch: number; readonly maxAttempts: number; readonly cancelRequested: boolean },
): AttemptDecision {
  switch (verdict.kind) {
    case 'superseded':
      return { kind: 'leave' };
    case 'outcome':
      return {
        kind: 'finish',
        stopRunner: false,
        terminalStatus: verdict.outcome.terminalStatus,
        failureKind: verdict.outcome.failureKind ?? null,
        failureMessage: verdict.outcome.failureMessage ?? null,
      };
    case 'runner-gone':
    case 'lease-lost':
      if (attempt.cancelRequested) return cancelled('the runner ended after the cancel was asked');
      if (!verdict.begun && attempt.epoch < attempt.maxAttempts) {
        return { kind: 'retry', stopRunner: true, reason: 'the runner was lost before the agent began' };
      }
      return failed(
        'runner-lost',
        verdict.kind === 'runner-gone'
          ? 'the runner process ended without reporting an outcome'
          : 'the lease expired and the runner did not come back within the partition grace',
      );
    case 'never-claimed':
      if (attempt.cancelRequested) return cancelled('cancelled before a runner claimed the run');
      if (attempt.epoch < attempt.maxAttempts) {
        return { kind: 'retry', stopRunner: true, reason: 'no runner claimed the run in time' };
      }
      return failed('runner-never-claimed', 'no runner claimed the run within the claim timeout');
    case 'timeout':
      return failed(
        `${verdict.timeoutKind}-timeout`,
        `the ${verdict.timeoutKind} limit of ${verdict.limitMs} ms has passed`,
      );
    case 'cancel-overdue':
      return cancelled('the runner did not answer the cancel and was ended');
  }
}

function failed(failureKind: RunFailureKind, failureMessage: string): AttemptDecision {
  return { kind: 'finish', stopRunner: true, terminalStatus: 'failed', failureKind, failureMessage };
}

function cancelled(failureMessage: string): AttemptDecision {
  return {
    kind: 'finish',
    stopRunner: true,
    terminalStatus: 'cancelled',
    failureKind: 'cancelled',
    failureMessage,
  };
}
