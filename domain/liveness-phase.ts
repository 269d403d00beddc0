import type { RunStatus } from '../contract/states.js';

export type LivenessPhase =
  | 'queued'
  | 'starting'
  | 'claimed'
  | 'running'
  | 'finishing'
  | 'quiet'
  | 'lease-expired'
  | 'retrying'
  | 'terminal';

/** What Postgres knows about a run's current attempt; ages are milliseconds by Postgres' clock. */
export interface LivenessFacts {
  readonly status: RunStatus;
  readonly terminal: boolean;
  readonly attempt: number;
  readonly hasRunnerJob: boolean;
  readonly claimed: boolean;
  readonly outcomeStored: boolean;
  readonly leaseExpired: boolean;
  readonly lastEventAgeMs: number | null;
  readonly idleTimeoutMs: number;
}

/**
 * The phase of a run as an operator sees it (decisions.md, Liveness phase). The first matching row wins.
 *
 * | # | condition | phase |
 * |---|---|---|
 * | 1 | the run has ended | `terminal` |
 * | 2 | the attempt's outcome is stored | `finishing` |
 * | 3 | not claimed, no attempt or job yet | `queued` |
 * | 4 | not claimed, a later attempt | `retrying` |
 * | 5 | not claimed | `starting` |
 * | 6 | the lease expired | `lease-expired` |
 * | 7 | no turn acknowledged | `claimed` |
 * | 8 | no event for half of the idle budget | `quiet` |
 * | 9 | else | `running` |
 */
export function livenessPhase(facts: LivenessFacts): LivenessPhase {
  if (facts.terminal) return 'terminal';
  if (facts.outcomeStored) return 'finishing';
  if (!facts.claimed) {
    if (facts.attempt === 0 || !facts.hasRunnerJob) return 'queued';
    return facts.attempt > 1 ? 'retrying' : 'starting';
  }
  if (facts.leaseExpired) return 'lease-expired';
  if (facts.status !== 'running') return 'claimed';
  const quietAfterMs = facts.idleTimeoutMs / 2;
  if (facts.idleTimeoutMs > 0 && (facts.lastEventAgeMs ?? 0) >= quietAfterMs) return 'quiet';
  return 'running';
}
