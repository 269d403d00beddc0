import type { RunResult } from '../contract/runs.js';
import type { SessionSummary } from '../contract/sessions.js';
import type { ActiveSession, QueueSupervisor, SessionSupervisor } from '../contract/supervisor.js';

/** The supervisor object of a session (contract.md 7.2, session variant) from its summary and the result of its active or last run. */
export function sessionSupervisor(summary: SessionSummary, result: RunResult): SessionSupervisor {
  return {
    ...supervisedRun(result),
    sessionId: summary.sessionId,
    executionState: summary.executionState,
    attentionState: summary.attentionState,
    active: summary.active,
    activeRunId: summary.activeRunId,
    activeCommandId: summary.activeCommandId,
    lastRunId: summary.lastRunId,
    lastCommandId: summary.lastCommandId,
    liveness: result.liveness,
    ...(result.steerDelivery === null ? {} : { steerDelivery: result.steerDelivery }),
  };
}

/** The session of a queue task while something goes on in it; null when it is idle (contract.md 4.1, activeSession). */
export function activeSessionOf(summary: SessionSummary): ActiveSession | null {
  if (!summary.active && summary.activeRunId === null && summary.activeCommandId === null) return null;
  return {
    sessionId: summary.sessionId,
    sessionPath: summary.sessionPath,
    executionState: summary.executionState,
    attentionState: summary.attentionState,
    activeRunId: summary.activeRunId,
    activeCommandId: summary.activeCommandId,
    lastRunId: summary.lastRunId,
    lastCommandId: summary.lastCommandId,
    terminalStatus: summary.terminalStatus,
    failureKind: summary.failureKind,
    lastActivityAt: summary.lastActivityAt,
    updatedAt: summary.updatedAt,
    active: true,
    valuesPrinted: false,
  };
}

/**
 * The run that a queue task's supervisor object is about (contract.md 7.2, queue variant): its session's active one, else its latest attempt's. Null:
 * there is none.
 */
export function supervisedRunOf(
  latestAttempt: { readonly runId: string | null } | null,
  activeSession: ActiveSession | null,
): string | null {
  return activeSession?.activeRunId ?? latestAttempt?.runId ?? null;
}

/** The supervisor object of a queue task (contract.md 7.2, queue variant); `result` is of the run that {@link supervisedRunOf} names. */
export function queueSupervisor(
  latestAttempt: { readonly runId: string | null; readonly commandId: string | null } | null,
  activeSession: ActiveSession | null,
  result: RunResult,
): QueueSupervisor {
  const { liveness } = result;
  return {
    ...supervisedRun(result),
    source: activeSession?.activeRunId == null ? 'latest-attempt' : 'active-session',
    attemptRunId: latestAttempt?.runId ?? null,
    attemptCommandId: latestAttempt?.commandId ?? null,
    activeSession,
    executionState: activeSession?.executionState ?? null,
    activeRunId: activeSession?.activeRunId ?? null,
    activeCommandId: activeSession?.activeCommandId ?? null,
    active: liveness.active,
    lastEventAt: liveness.lastEventAt,
    lease: liveness.lease,
  };
}

function supervisedRun(result: RunResult) {
  const { liveness } = result;
  return {
    runId: result.runId,
    commandId: result.commandId,
    status: result.status,
    terminalStatus: result.terminalStatus,
    failureKind: result.failureKind,
    terminalClassification: result.terminalClassification,
    phase: liveness.phase,
    lastSeq: result.lastSeq,
    lastEventAgeMs: liveness.lastEventAgeMs,
    lastActivity: liveness.lastActivity,
    timeoutBudget: liveness.timeoutBudget,
    leaseRemainingMs: liveness.lease.leaseRemainingMs,
    leaseExpired: liveness.lease.leaseExpired,
    recoveryActions: liveness.recoveryActions,
    diagnosis: result.diagnosis,
    valuesPrinted: false as const,
  };
}
