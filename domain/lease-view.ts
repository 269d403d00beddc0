import type { AttemptFacts, RunFacts } from './run-facts.js';

/** How the lease of the current attempt stands. */
export type LeaseState = 'ended' | 'unclaimed' | 'expired' | 'live';

export interface LeaseVerdict {
  readonly state: LeaseState;
  /** Never negative; null without a lease, and when nothing is waited for any more. */
  readonly remainingMs: number | null;
}

/**
 * The lease of a run's current attempt. The first matching row wins. A claimed attempt without a lease counts as expired (contract.md oddity 10); an
 * expired lease is a phase, no verdict (architecture.md 5).
 *
 * | # | condition | state |
 * |---|---|---|
 * | 1 | the run or the attempt has ended, or its outcome is stored | `ended` |
 * | 2 | no attempt, or nobody claimed it | `unclaimed` |
 * | 3 | no lease, or it ends now or earlier | `expired` |
 * | 4 | else | `live` |
 */
export function leaseOf(facts: RunFacts, nowMs: number): LeaseVerdict {
  const { attempt } = facts;
  const expiresAtMs = attempt?.leaseExpiresAtMs ?? null;
  const remainingMs = expiresAtMs === null ? null : Math.max(0, expiresAtMs - nowMs);
  if (facts.terminalStatus !== null || (attempt !== null && hasEnded(attempt))) {
    return { state: 'ended', remainingMs: null };
  }
  if (attempt === null || attempt.claimedBy === null) return { state: 'unclaimed', remainingMs };
  if (expiresAtMs === null || expiresAtMs <= nowMs) return { state: 'expired', remainingMs };
  return { state: 'live', remainingMs };
}

/** Nothing more is expected of this attempt: its runner said how it ended, or the turn's workflow did. */
export function hasEnded(attempt: AttemptFacts): boolean {
  return attempt.outcome !== null || attempt.endedAtMs !== null;
}
