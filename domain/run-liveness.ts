import type { Activity, Diagnosis, Liveness } from '../contract/supervisor.js';
import { leaseOf } from './lease-view.js';
import { livenessPhase } from './liveness-phase.js';
import { recoveryActions } from './recovery-actions.js';
import { diagnose } from './run-diagnosis.js';
import { isoOf, type RunFacts } from './run-facts.js';
import { classifyTerminal } from './terminal-classification.js';
import { timeoutBudget } from './timeout-budget.js';

/** How a run stands at `nowMs` (contract.md 7.3, 7.7): every rule over the same facts and the same time. */
export function runLiveness(
  facts: RunFacts,
  nowMs: number,
): { readonly liveness: Liveness; readonly diagnosis: Diagnosis } {
  const phase = livenessPhase(facts, nowMs);
  const classification = classifyTerminal(facts, nowMs);
  const budget = timeoutBudget(facts, nowMs);
  const lease = leaseOf(facts, nowMs);
  const { pendingRequest: request } = facts;
  const liveness: Liveness = {
    phase,
    active: facts.terminalStatus === null,
    lastSeq: facts.lastSeq,
    lastEventAt: isoOf(facts.lastEventAtMs),
    lastEventAgeMs: facts.lastEventAtMs === null ? null : Math.max(0, nowMs - facts.lastEventAtMs),
    lastActivity: activityView(facts, nowMs),
    timeoutBudget: budget,
    lease: {
      claimedBy: facts.attempt?.claimedBy ?? null,
      leaseExpiresAt: isoOf(facts.attempt?.leaseExpiresAtMs ?? null),
      leaseExpired: lease.state === 'expired',
      leaseRemainingMs: lease.remainingMs,
      valuesPrinted: false,
    },
    terminalClassification: classification,
    pendingRequest:
      request === null || facts.terminalStatus !== null
        ? null
        : {
            requestId: request.requestId,
            kind: request.kind,
            summary: request.summary,
            state: 'pending',
            askedAt: isoOf(request.askedAtMs),
            expiresAt: isoOf(request.expiresAtMs),
          },
    recoveryActions: recoveryActions(facts, phase),
    valuesPrinted: false,
  };
  return { liveness, diagnosis: diagnose(facts, { phase, classification, budget }, nowMs) };
}

function activityView({ lastActivity: last }: RunFacts, nowMs: number): Activity | null {
  if (last === null) return null;
  return {
    sourceSeq: last.seq,
    eventId: last.eventId,
    activityKind: last.activityKind,
    type: last.type,
    status: last.status,
    toolName: last.toolName,
    itemId: last.itemId,
    ageMs: last.atMs === null ? null : Math.max(0, nowMs - last.atMs),
    summary: last.summary,
    valuesPrinted: false,
  };
}
