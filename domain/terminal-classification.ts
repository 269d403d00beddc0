import type {
  InfrastructureFailureKind,
  ProviderFailureKind,
  RunFailureKind,
} from '../contract/failure-kinds.js';
import type { TerminalClassification } from '../contract/supervisor.js';
import { hasEnded, leaseOf } from './lease-view.js';
import { type AgentErrorFacts, bounded, type RunFacts } from './run-facts.js';
import { hardElapsedMs, silenceOf } from './timeout-budget.js';

type Verdict = Pick<TerminalClassification, 'category' | 'confidence' | 'reason'> &
  Partial<Omit<TerminalClassification, 'valuesPrinted'>>;

/** What a failure kind is about, as far as the table asks. The compiler demands every kind of the runner, the storage and the provider. */
const subjects: Readonly<
  Record<InfrastructureFailureKind, 'infrastructure'> & Record<ProviderFailureKind, 'provider'>
> = {
  'runner-never-claimed': 'infrastructure',
  'runner-lost': 'infrastructure',
  'runner-oom-killed': 'infrastructure',
  'runner-evicted': 'infrastructure',
  'runner-unhealthy': 'infrastructure',
  'node-lost': 'infrastructure',
  'image-pull-failed': 'infrastructure',
  'invalid-pod': 'infrastructure',
  'prerequisite-failed': 'infrastructure',
  unschedulable: 'infrastructure',
  'storage-unavailable': 'infrastructure',
  'session-store-evicted': 'infrastructure',
  'provider-auth': 'provider',
  'provider-rate-limited': 'provider',
  'provider-quota': 'provider',
  'provider-rejected': 'provider',
  'model-not-found': 'provider',
  'provider-unavailable': 'provider',
  'provider-overloaded': 'provider',
  'context-window-exceeded': 'provider',
  'provider-disconnected': 'provider',
};
const subjectOf: Readonly<Partial<Record<RunFailureKind, 'infrastructure' | 'provider'>>> = subjects;

/** Row 6: the kind is a category of its own. */
const isInfrastructure = (kind: RunFailureKind | null): kind is InfrastructureFailureKind =>
  kind !== null && subjectOf[kind] === 'infrastructure';

/** Kinds that name no cause: beside them a clock that has run out is evidence. */
const unspecificKinds: ReadonlySet<string> = new Set<RunFailureKind>(['agent-error', 'infra-failed']);

/**
 * How a run ended, and how sure that is (decisions.md, terminalClassification). The first matching row wins.
 *
 * | # | condition | category | confidence |
 * |---|---|---|---|
 * | 1 | not terminal, and: lease live, or not yet claimed, or parked, or between attempts (outcome or end stored) | `not-terminal` | high |
 * | 2 | not terminal, lease expired or missing after claim | `runner-lost` | high if the runner is known to be gone, else low |
 * | 3 | `completed` | `completed` | high |
 * | 4 | `cancelled` and a cancel was requested | `cancelled-by-request` | high |
 * | 5 | `cancelled` otherwise | `cancelled-unattributed` | low |
 * | 6 | `failed`, kind of the runner, the pod or the storage | the failure kind | high |
 * | 7 | hard limit or deadline | `hard-timeout` | high if recorded, medium if only elapsed |
 * | 8 | idle or first-output limit | `idle-timeout` | high if recorded, medium if only elapsed |
 * | 9 | budget limit | `budget-exceeded` | high |
 * | 10 | `blocked` | `blocked` | high |
 * | 11 | provider error, `willRetry` false | `provider-failure` | high if proxy and agent say so, else medium |
 * | 12 | provider error, `willRetry` true, no output after it | `provider-retry-interrupted` | medium |
 * | 13 | a transport drop is the last agent event | `transport-disconnect` | medium |
 * | 14 | other failure with a known kind | `failed-known` | medium |
 * | 15 | else | `unknown` | low |
 *
 * "Only elapsed" counts where no cause was recorded (no kind, `agent-error`, `infra-failed`): a recorded cause is better evidence than a clock.
 * A provider error of an attempt before the current one does not count.
 */
export function classifyTerminal(facts: RunFacts, nowMs: number): TerminalClassification {
  const verdict = facts.terminalStatus === null ? classifyLive(facts, nowMs) : classifyEnded(facts, nowMs);
  const provider = facts.attempt?.provider ?? null;
  const interruption = verdict.providerInterruption ?? 'no';
  return {
    providerEvidence: provider?.evidence ?? null,
    providerInterruptionReason: null,
    retryInterruptionObserved: false,
    retryInterruptionSeq: null,
    retryInterruptionKind: null,
    hardTimeout: false,
    idleTimeout: false,
    timeoutKind: null,
    transportDisconnectObserved: false,
    transportDisconnectSeq: null,
    ...verdict,
    providerInterruption: interruption,
    providerInterruptionKnown: interruption !== 'unknown',
    reason: bounded(verdict.reason, 240),
    valuesPrinted: false,
  };
}

function classifyLive(facts: RunFacts, nowMs: number): Verdict {
  const lease = leaseOf(facts, nowMs);
  const between = facts.attempt !== null && hasEnded(facts.attempt);
  if (lease.state === 'live' || lease.state === 'unclaimed' || facts.parked !== null || between) {
    const error = unrecoveredError(facts);
    return {
      category: 'not-terminal',
      confidence: 'high',
      reason: liveReason(facts, lease.state),
      ...(error === null
        ? {}
        : { providerInterruption: 'yes', providerInterruptionReason: errorReason(error) }),
    };
  }
  const gone = facts.attempt?.runner === 'gone';
  return {
    category: 'runner-lost',
    confidence: gone ? 'high' : 'low',
    providerInterruption: 'unknown',
    reason: gone
      ? 'the lease has expired and the process of the runner is gone'
      : 'the lease has expired; whether the runner still works is not known',
  };
}

function liveReason(facts: RunFacts, lease: string): string {
  if (facts.parked !== null) return 'the turn is parked';
  if (facts.attempt !== null && hasEnded(facts.attempt)) return 'the attempt has ended, the turn has not';
  return lease === 'live' ? 'the runner holds a live lease' : 'no runner has claimed the run yet';
}

function classifyEnded(facts: RunFacts, nowMs: number): Verdict {
  const { terminalStatus: status, failureKind: kind } = facts;
  if (status === 'completed')
    return { category: 'completed', confidence: 'high', reason: 'the turn completed' };
  if (status === 'cancelled' && facts.cancelRequestedAtMs !== null) {
    return { category: 'cancelled-by-request', confidence: 'high', reason: 'a cancel was requested' };
  }
  if (status === 'cancelled') {
    return {
      category: 'cancelled-unattributed',
      confidence: 'low',
      providerInterruption: 'unknown',
      reason: 'the turn was cancelled, but nobody is on record who asked for it',
    };
  }
  if (status === 'failed' && isInfrastructure(kind)) {
    return {
      category: kind,
      confidence: 'high',
      reason: `the control plane recorded ${kind}`,
      ...(kind === 'runner-never-claimed' ? { timeoutKind: 'claim' } : {}),
    };
  }
  return classifyLimit(facts, nowMs) ?? classifyCause(facts);
}

/** Rows 7 to 9. */
function classifyLimit(facts: RunFacts, nowMs: number): Verdict | null {
  const { failureKind: kind, policy } = facts;
  if (kind === 'hard-timeout' || kind === 'deadline-exceeded') {
    const limit = kind === 'hard-timeout' ? 'the hard limit' : 'the deadline';
    return hard('high', `${limit} was over and the turn was ended`);
  }
  const noCause = kind === null || unspecificKinds.has(kind);
  const deadlinePassed = facts.deadlineAtMs !== null && (facts.finishedAtMs ?? nowMs) >= facts.deadlineAtMs;
  if (noCause && (hardElapsedMs(facts, nowMs) >= policy.hardTimeoutMs || deadlinePassed)) {
    return hard('medium', 'the hard limit or the deadline was over at the end, but nothing else says so');
  }
  if (kind === 'idle-timeout' || kind === 'first-output-timeout') {
    const timeoutKind = kind === 'idle-timeout' ? 'idle' : 'first-output';
    return idle('high', timeoutKind, `the ${timeoutKind} limit was over and the turn was ended`);
  }
  const silentMs = silenceOf(facts, nowMs)?.elapsedMs ?? 0;
  if (noCause && policy.idleTimeoutMs > 0 && silentMs >= policy.idleTimeoutMs) {
    return idle('medium', 'idle', 'the agent was silent for the idle limit, but nothing else says so');
  }
  if (kind === 'budget-exceeded') {
    return { category: 'budget-exceeded', confidence: 'high', reason: 'the budget of the turn was used up' };
  }
  return null;
}

function hard(confidence: 'high' | 'medium', reason: string): Verdict {
  return { category: 'hard-timeout', confidence, hardTimeout: true, timeoutKind: 'hard', reason };
}

/** A silent agent may wait for a silent provider. */
function idle(confidence: 'high' | 'medium', timeoutKind: 'idle' | 'first-output', reason: string): Verdict {
  return {
    category: 'idle-timeout',
    confidence,
    idleTimeout: true,
    timeoutKind,
    providerInterruption: 'unknown',
    reason,
  };
}

/** Rows 10 to 15. */
function classifyCause(facts: RunFacts): Verdict {
  const { failureKind: kind } = facts;
  if (facts.terminalStatus === 'blocked') {
    return { category: 'blocked', confidence: 'high', reason: `the turn was blocked: ${kind ?? 'no kind'}` };
  }
  const error = unrecoveredError(facts);
  const evidence = facts.attempt?.provider?.evidence ?? 'none';
  const isProviders = (kind !== null && subjectOf[kind] === 'provider') || isProviderError(error);
  if (isProviders && error?.willRetry !== true) {
    const said = evidence === 'none' && error !== null ? 'agent' : evidence;
    return {
      category: 'provider-failure',
      confidence: said === 'both' ? 'high' : 'medium',
      providerEvidence: said,
      providerInterruption: 'yes',
      providerInterruptionReason: providerReason(facts, error),
      reason: `the provider failed: ${kind ?? 'no kind'}`,
    };
  }
  if (error?.willRetry === true) {
    return {
      category: 'provider-retry-interrupted',
      confidence: 'medium',
      providerEvidence: evidence === 'none' ? 'agent' : evidence,
      providerInterruption: 'yes',
      providerInterruptionReason: errorReason(error),
      retryInterruptionObserved: true,
      retryInterruptionSeq: error.seq,
      retryInterruptionKind: error.codexErrorInfo ?? 'unknown',
      reason: 'the turn ended while the agent was asking the provider again',
    };
  }
  const drop = facts.lastDisconnect;
  if (drop !== null && drop.seq > (facts.lastActivity?.seq ?? 0)) {
    return {
      category: 'transport-disconnect',
      confidence: 'medium',
      providerInterruption: 'unknown',
      transportDisconnectObserved: true,
      transportDisconnectSeq: drop.seq,
      reason: 'the last that the agent said is that a connection was lost',
    };
  }
  if (kind !== null) {
    return {
      category: 'failed-known',
      confidence: 'medium',
      providerInterruption: kind === 'agent-error' ? 'unknown' : 'no',
      reason: `the turn failed: ${kind}`,
    };
  }
  return {
    category: 'unknown',
    confidence: 'low',
    providerInterruption: 'unknown',
    reason: 'the turn failed and no cause is on record',
  };
}

/** The current attempt's last provider error, if no output came after it. */
function unrecoveredError(facts: RunFacts): AgentErrorFacts | null {
  const error = facts.lastError;
  if (error === null || facts.recoveredSeq !== null || error.epoch !== facts.attempt?.epoch) return null;
  return error;
}

/** An agent retries only requests to its provider; a last error is the provider's if it carries an error status. */
function isProviderError(error: AgentErrorFacts | null): boolean {
  return error !== null && (error.willRetry || (error.providerStatus ?? 0) >= 400);
}

function errorReason(error: AgentErrorFacts): string {
  const status = error.providerStatus === null ? '' : `, status ${error.providerStatus}`;
  const word = error.codexErrorInfo ?? 'an error';
  return bounded(`the agent reported ${word}${status}${error.willRetry ? ' and tries again' : ''}`, 240);
}

function providerReason(facts: RunFacts, error: AgentErrorFacts | null): string {
  const provider = facts.attempt?.provider ?? null;
  if (provider === null || provider.evidence === 'none') {
    return error === null ? 'the attempt ended with this kind' : errorReason(error);
  }
  const parts = [
    provider.status === null ? null : `status ${provider.status}`,
    provider.errorCode === null ? null : `code ${provider.errorCode}`,
    provider.agentErrorInfo === null ? null : `the agent says ${provider.agentErrorInfo}`,
  ].filter((part) => part !== null);
  const by = provider.evidence === 'both' ? 'proxy and agent' : provider.evidence;
  return bounded(`seen by ${by}${parts.length === 0 ? '' : `: ${parts.join(', ')}`}`, 240);
}
