import type { ProviderEvidence } from '../contract/commands.js';
import type { ExecutionPolicy } from '../contract/execution-policy.js';
import type { RunFailureKind } from '../contract/failure-kinds.js';
import type { Launcher } from '../contract/runs.js';
import type { RunnerJobPhase, RunnerState, RunStatus, TerminalStatus } from '../contract/states.js';
import type { PodWait } from './supervision.js';

/** The attempt that is current. Times are epoch milliseconds of Postgres' clock. */
export interface AttemptFacts {
  readonly epoch: number;
  readonly jobName: string;
  readonly claimDeadlineMs: number;
  readonly claimedBy: string | null;
  readonly claimedAtMs: number | null;
  readonly firstEventAtMs: number | null;
  /** The model has said something in this attempt. */
  readonly firstOutputAtMs: number | null;
  /** Last sign of life of the agent, also one that is no event. */
  readonly lastProgressAtMs: number | null;
  readonly leaseExpiresAtMs: number | null;
  readonly outcome: TerminalStatus | null;
  readonly outcomeAtMs: number | null;
  readonly provider: ProviderEvidence | null;
  /** Set when the turn's workflow has decided to try again or to park. */
  readonly endedAtMs: number | null;
  readonly endFailureKind: string | null;
  readonly endReason: string | null;
  /** State of the runner's record; null when it has none. */
  readonly runner: RunnerState | null;
  readonly job: {
    readonly jobId: string;
    readonly phase: RunnerJobPhase;
    readonly pod: JobPodFacts | null;
  } | null;
}

/** How the pod of a runner job stands, as the worker last noted it. */
export interface JobPodFacts {
  /** What it waits for; null: its containers run. */
  readonly wait: PodWait | null;
  /** The cluster's own words. */
  readonly message: string | null;
  readonly sinceMs: number | null;
  readonly nodeName: string | null;
}

/** An event that was progress of the agent, as its projection keeps it (`activityOf`). */
export interface ActivityFacts {
  readonly seq: number;
  readonly epoch: number;
  readonly eventId: string | null;
  readonly atMs: number | null;
  readonly type: string;
  readonly activityKind: string;
  readonly status: string | null;
  readonly toolName: string | null;
  readonly itemId: string | null;
  readonly summary: string | null;
}

/** An error that the agent reported about its provider. */
export interface AgentErrorFacts {
  readonly seq: number;
  readonly epoch: number;
  readonly atMs: number | null;
  readonly willRetry: boolean;
  readonly codexErrorInfo: string | null;
  readonly providerStatus: number | null;
}

/** The oldest request of the agent that waits for a person. */
export interface PendingRequestFacts {
  readonly requestId: string;
  readonly kind: string;
  readonly summary: string;
  readonly askedAtMs: number;
  readonly expiresAtMs: number | null;
}

/** An attempt before the current one. */
export interface FormerAttempt {
  readonly epoch: number;
  readonly failureKind: string | null;
  readonly counted: boolean;
}

/**
 * What Postgres knows about a run, read from columns that the writes keep (docs/adr/0014). All rules about how a run stands or ended read this and
 * the time: lease, budget, phase, classification, diagnosis, recovery actions. JSON; times are epoch milliseconds of Postgres' clock.
 */
export interface RunFacts {
  readonly runId: string;
  readonly sessionId: string;
  readonly commandId: string | null;
  readonly status: RunStatus;
  readonly terminalStatus: TerminalStatus | null;
  readonly failureKind: RunFailureKind | null;
  readonly failureMessage: string | null;
  readonly launcher: Launcher;
  readonly policy: ExecutionPolicy;
  readonly createdAtMs: number;
  readonly commandCreatedAtMs: number | null;
  readonly startedAtMs: number | null;
  readonly finishedAtMs: number | null;
  readonly deadlineAtMs: number | null;
  readonly cancelRequestedAtMs: number | null;
  /** Since when the hard and the idle limit stand still, and how long they did before. */
  readonly pausedSinceMs: number | null;
  readonly pausedMs: number;
  readonly parked: {
    readonly reason: 'person' | 'provider-limit';
    readonly sinceMs: number;
    readonly untilMs: number | null;
  } | null;
  readonly sessionEvicted: boolean;
  readonly lastSeq: number;
  readonly lastEventAtMs: number | null;
  readonly attempt: AttemptFacts | null;
  readonly formerAttempts: readonly FormerAttempt[];
  readonly pendingRequest: PendingRequestFacts | null;
  /** When a request of the agent was resolved last. */
  readonly lastResolvedAtMs: number | null;
  readonly lastActivity: ActivityFacts | null;
  readonly lastError: AgentErrorFacts | null;
  /** Seq of the first output after `lastError`. */
  readonly recoveredSeq: number | null;
  readonly lastDisconnect: { readonly seq: number; readonly epoch: number } | null;
}

/** ISO 8601 UTC of epoch milliseconds; null stays null. */
export function isoOf(ms: number): string;
export function isoOf(ms: number | null): string | null;
export function isoOf(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

/** One line of at most `limit` UTF-16 units, blanks collapsed (contract.md 0.3, *bounded*). */
export function bounded(text: string, limit: number): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length <= limit ? line : `${line.slice(0, limit - 3)}...`;
}
