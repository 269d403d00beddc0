import type { LivenessPhase } from '../contract/supervisor.js';
import { leaseOf } from './lease-view.js';
import type { RunFacts } from './run-facts.js';
import { silenceOf } from './timeout-budget.js';

/**
 * The phase of a run as an operator sees it (decisions.md, Liveness phase). The first matching row wins.
 *
 * | # | condition | phase |
 * |---|---|---|
 * | 1 | the run has ended | `terminal` |
 * | 2 | it is parked | `parked` |
 * | 3 | its attempt was given up, the next is not written | `retrying` |
 * | 4 | the attempt's outcome is stored | `finishing` |
 * | 5 | no attempt yet | `queued` |
 * | 6 | not claimed, a later attempt | `retrying` |
 * | 7 | not claimed | `starting` |
 * | 8 | the lease expired or is missing | `lease-expired` |
 * | 9 | a request of the agent is pending | `waiting` |
 * | 10 | no turn acknowledged | `claimed` |
 * | 11 | nothing heard for half of the idle limit (0: off) | `quiet` |
 * | 12 | else | `running` |
 *
 * Heard is what resets the idle limit: events, and signs of life that are none. An expired lease comes before a pending request, because an
 * answer may find no runner. `unavailable` is said by a reader that cannot ask.
 */
export function livenessPhase(facts: RunFacts, nowMs: number): Exclude<LivenessPhase, 'unavailable'> {
  const { attempt, policy } = facts;
  if (facts.terminalStatus !== null) return 'terminal';
  if (facts.parked !== null) return 'parked';
  if (attempt === null) return 'queued';
  if (attempt.endedAtMs !== null) return 'retrying';
  if (attempt.outcome !== null) return 'finishing';
  const lease = leaseOf(facts, nowMs);
  if (lease.state === 'unclaimed') return attempt.epoch > 1 ? 'retrying' : 'starting';
  if (lease.state === 'expired') return 'lease-expired';
  if (facts.pendingRequest !== null) return 'waiting';
  if (facts.status !== 'running') return 'claimed';
  const silentMs = silenceOf(facts, nowMs)?.elapsedMs ?? 0;
  if (policy.idleTimeoutMs > 0 && silentMs >= policy.idleTimeoutMs / 2) return 'quiet';
  return 'running';
}
