import type { TimeoutBudget, TimeoutKind } from '../contract/supervisor.js';
import { hasEnded, leaseOf } from './lease-view.js';
import { isoOf, type RunFacts } from './run-facts.js';
import { hardLeftMs } from './supervision.js';

/** A share of the limit at which its state becomes `warning` (decisions.md, Liveness phase). */
const warningShare = 0.2;

interface Limit {
  readonly kind: TimeoutKind;
  readonly source: 'execution-policy' | 'deadline';
  readonly limitMs: number;
  readonly elapsedMs: number;
  readonly startedAtMs: number;
  /** Stands still while the turn waits for a person or is parked. */
  readonly pausable: boolean;
}

/**
 * Which limit ends the attempt next, and how much of it is left (decisions.md, Timeouts of a turn). What `judgeAttempt` (supervision.ts) enforces, as
 * a reader sees it.
 *
 * Limits that apply, of which the one with the least left is shown; a tie goes to the upper row:
 *
 * | limit | applies | counts from | stands still |
 * |---|---|---|---|
 * | deadline of the run (kind `hard`) | not terminal, a deadline is set | the run's creation | never |
 * | `hard` | a turn was begun | first begin, over all attempts | while a person is awaited or the turn is parked |
 * | `claim` | the attempt is not claimed | its launch | never |
 * | `first-output` | claimed, lease live, the model was not heard in this attempt | the claim, or a person's answer | as `hard` |
 * | `idle` | claimed, lease live, the limit is not 0 | last sign of life, or a person's answer | as `hard` |
 *
 * State; the first matching row wins:
 *
 * | # | condition | state |
 * |---|---|---|
 * | 1 | no limit applies: the run has ended, its end is stored, or nothing was begun | `not-applicable` |
 * | 2 | the shown limit stands still | `paused` |
 * | 3 | nothing is left | `exceeded` |
 * | 4 | at most 20 % is left | `warning` |
 * | 5 | else | `ok` |
 */
export function timeoutBudget(facts: RunFacts, nowMs: number): TimeoutBudget {
  const untilMs = facts.finishedAtMs ?? nowMs;
  const silence = silenceOf(facts, nowMs);
  const ages = {
    idleElapsedMs: silence?.elapsedMs ?? null,
    idleStartedAt: isoOf(silence?.sinceMs ?? null),
    lastActivityAt: isoOf(facts.lastActivity?.atMs ?? null),
    lastActivitySeq: facts.lastActivity?.seq ?? null,
    commandElapsedMs:
      facts.commandCreatedAtMs === null ? null : Math.max(0, untilMs - facts.commandCreatedAtMs),
    runElapsedMs: Math.max(0, untilMs - facts.createdAtMs),
    valuesPrinted: false as const,
  };
  const limit = limitsOf(facts, nowMs).reduce<Limit | null>(
    (least, next) => (least === null || remainingMsOf(next) < remainingMsOf(least) ? next : least),
    null,
  );
  if (limit === null) {
    return {
      state: 'not-applicable',
      timeoutKind: null,
      timeoutMs: null,
      elapsedMs: null,
      remainingMs: null,
      startedAt: null,
      source: null,
      ...ages,
    };
  }
  return {
    state: stateOf(limit, facts),
    timeoutKind: limit.kind,
    timeoutMs: limit.limitMs,
    elapsedMs: limit.elapsedMs,
    remainingMs: remainingMsOf(limit),
    startedAt: isoOf(limit.startedAtMs),
    source: limit.source,
    ...ages,
  };
}

function stateOf(limit: Limit, facts: RunFacts): TimeoutBudget['state'] {
  if (limit.pausable && facts.pausedSinceMs !== null) return 'paused';
  const remainingMs = remainingMsOf(limit);
  if (remainingMs === 0) return 'exceeded';
  return remainingMs <= limit.limitMs * warningShare ? 'warning' : 'ok';
}

const remainingMsOf = (limit: Limit) => Math.max(0, limit.limitMs - limit.elapsedMs);

function limitsOf(facts: RunFacts, nowMs: number): Limit[] {
  const { attempt, policy } = facts;
  if (facts.terminalStatus !== null || attempt?.outcome != null) return [];
  const limits: Limit[] = [];
  const add = (
    kind: TimeoutKind,
    limitMs: number,
    startedAtMs: number,
    elapsedMs: number,
    more: Partial<Limit> = {},
  ) =>
    limits.push({
      kind,
      source: 'execution-policy',
      limitMs: Math.max(0, limitMs),
      startedAtMs,
      elapsedMs: Math.max(0, elapsedMs),
      pausable: false,
      ...more,
    });
  if (facts.deadlineAtMs !== null) {
    const limitMs = facts.deadlineAtMs - facts.createdAtMs;
    add('hard', limitMs, facts.createdAtMs, nowMs - facts.createdAtMs, { source: 'deadline' });
  }
  const begunAtMs = begunAtMsOf(facts);
  if (begunAtMs !== null) {
    add('hard', policy.hardTimeoutMs, begunAtMs, hardElapsedMs(facts, nowMs), { pausable: true });
  }
  if (attempt === null || hasEnded(attempt)) return limits;
  if (attempt.claimedAtMs === null) {
    // The deadline is moved when the runner has been started, so the clock is read backwards from it.
    const startedAtMs = attempt.claimDeadlineMs - policy.claimTimeoutMs;
    add('claim', policy.claimTimeoutMs, startedAtMs, nowMs - startedAtMs);
    return limits;
  }
  if (leaseOf(facts, nowMs).state !== 'live') return limits;
  if (attempt.firstOutputAtMs === null) {
    const sinceMs = Math.max(attempt.claimedAtMs, facts.lastResolvedAtMs ?? 0);
    const untilMs = facts.pausedSinceMs ?? nowMs;
    add('first-output', policy.firstOutputTimeoutMs, sinceMs, untilMs - sinceMs, { pausable: true });
  }
  const silence = silenceOf(facts, nowMs);
  if (policy.idleTimeoutMs > 0 && silence !== null) {
    add('idle', policy.idleTimeoutMs, silence.sinceMs, silence.elapsedMs, { pausable: true });
  }
  return limits;
}

/** When the turn was begun first; null before. */
function begunAtMsOf(facts: RunFacts): number | null {
  return facts.startedAtMs ?? facts.attempt?.claimedAtMs ?? null;
}

/** How much of the hard limit is used at `nowMs`, or was at the run's end; at most all of it. Pauses are not counted. */
export function hardElapsedMs(facts: RunFacts, nowMs: number): number {
  const { policy, startedAtMs, pausedSinceMs, pausedMs } = facts;
  const claimedAtMs = facts.attempt?.claimedAtMs ?? null;
  const clock = { policy, startedAtMs, claimedAtMs, pausedSinceMs, pausedMs };
  return policy.hardTimeoutMs - hardLeftMs({ ...clock, nowMs: facts.finishedAtMs ?? nowMs });
}

/**
 * Since when nothing was heard of the agent of the current attempt, and how long that is without a pause; it ends with the attempt. The answer of
 * a person begins it anew, as it does for the supervisor (`judgeAttempt`). Null before the claim.
 */
export function silenceOf(facts: RunFacts, nowMs: number): { sinceMs: number; elapsedMs: number } | null {
  const { attempt } = facts;
  if (attempt === null || attempt.claimedAtMs === null) return null;
  const endedAtMs = attempt.outcomeAtMs ?? attempt.endedAtMs ?? facts.finishedAtMs ?? nowMs;
  const sinceMs = Math.max(
    attempt.claimedAtMs,
    attempt.firstEventAtMs ?? 0,
    attempt.lastProgressAtMs ?? 0,
    facts.lastResolvedAtMs ?? 0,
  );
  const untilMs = Math.min(facts.pausedSinceMs ?? endedAtMs, endedAtMs);
  return { sinceMs, elapsedMs: Math.max(0, untilMs - sinceMs) };
}
