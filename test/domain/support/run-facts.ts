import fc from 'fast-check';
import type { ProviderEvidence } from '../../../contract/commands.js';
import { executionPolicySchema } from '../../../contract/execution-policy.js';
import { runFailureKinds } from '../../../contract/failure-kinds.js';
import { runStatusSchema, terminalStatuses, terminalStatusSchema } from '../../../contract/states.js';
import type { ActivityFacts, AgentErrorFacts, AttemptFacts, RunFacts } from '../../../domain/run-facts.js';

export const nowMs = 1_900_000_000_000;
export const ago = (seconds: number) => nowMs - seconds * 1_000;
export const policy = executionPolicySchema.parse({});

export const attempt: AttemptFacts = {
  epoch: 1,
  jobName: 'agentrun-x-1',
  claimDeadlineMs: ago(-240),
  claimedBy: 'rnr_1',
  claimedAtMs: ago(60),
  firstEventAtMs: ago(58),
  firstOutputAtMs: ago(50),
  lastProgressAtMs: ago(1),
  leaseExpiresAtMs: ago(-30),
  outcome: null,
  outcomeAtMs: null,
  provider: null,
  endedAtMs: null,
  endFailureKind: null,
  endReason: null,
  runner: 'serving',
  job: { jobId: 'job_1', phase: 'running', pod: null },
};

/** A run whose agent works since 55 s, with a live lease. */
export function running(over: Partial<RunFacts> = {}, attemptOver: Partial<AttemptFacts> = {}): RunFacts {
  return {
    runId: 'run_1',
    sessionId: 'sess_1',
    commandId: 'cmd_1',
    status: 'running',
    terminalStatus: null,
    failureKind: null,
    failureMessage: null,
    launcher: 'process',
    policy,
    createdAtMs: ago(70),
    commandCreatedAtMs: ago(70),
    startedAtMs: ago(55),
    finishedAtMs: null,
    deadlineAtMs: null,
    cancelRequestedAtMs: null,
    pausedSinceMs: null,
    pausedMs: 0,
    parked: null,
    sessionEvicted: false,
    lastSeq: 10,
    lastEventAtMs: ago(1),
    attempt: { ...attempt, ...attemptOver },
    formerAttempts: [],
    pendingRequest: null,
    lastResolvedAtMs: null,
    lastActivity: activity,
    lastError: null,
    recoveredSeq: null,
    lastDisconnect: null,
    ...over,
  };
}

export const activity: ActivityFacts = {
  seq: 9,
  epoch: 1,
  eventId: 'evt_9',
  atMs: ago(1),
  type: 'command_execution',
  activityKind: 'command',
  status: 'inProgress',
  toolName: 'shell',
  itemId: 'item-9',
  summary: 'make test',
};

export const agentError: AgentErrorFacts = {
  seq: 10,
  epoch: 1,
  atMs: ago(1),
  willRetry: false,
  codexErrorInfo: 'serverOverloaded',
  providerStatus: 503,
};

export const evidence = (by: ProviderEvidence['evidence']): ProviderEvidence => ({
  evidence: by,
  status: 503,
  errorCode: 'server_is_overloaded',
  agentErrorInfo: 'serverOverloaded',
  resetAt: null,
});

/** A run that has ended just now. */
export function ended(
  terminalStatus: RunFacts['terminalStatus'] & string,
  over: Partial<RunFacts> = {},
  attemptOver: Partial<AttemptFacts> = {},
): RunFacts {
  return running({ status: terminalStatus, terminalStatus, finishedAtMs: nowMs, ...over }, attemptOver);
}

export const unclaimed: Partial<AttemptFacts> = {
  claimedBy: null,
  claimedAtMs: null,
  firstEventAtMs: null,
  firstOutputAtMs: null,
  lastProgressAtMs: null,
  leaseExpiresAtMs: null,
  job: { jobId: 'job_1', phase: 'starting', pod: null },
};

const someTime = fc.option(fc.integer({ min: ago(20_000), max: ago(-20_000) }), { nil: null });
const terminal = new Set<string>(terminalStatuses);

const anyAttempt: fc.Arbitrary<AttemptFacts> = fc.record({
  epoch: fc.integer({ min: 1, max: 4 }),
  jobName: fc.constant('agentrun-x-1'),
  claimDeadlineMs: fc.integer({ min: ago(400), max: ago(-400) }),
  claimedBy: fc.option(fc.constant('rnr_1'), { nil: null }),
  claimedAtMs: someTime,
  firstEventAtMs: someTime,
  firstOutputAtMs: someTime,
  lastProgressAtMs: someTime,
  leaseExpiresAtMs: someTime,
  outcome: fc.option(fc.constantFrom(...terminalStatusSchema.options), { nil: null }),
  outcomeAtMs: someTime,
  provider: fc.option(fc.constantFrom(...(['proxy', 'agent', 'both', 'none'] as const)).map(evidence), {
    nil: null,
  }),
  endedAtMs: someTime,
  endFailureKind: fc.option(fc.constantFrom(...runFailureKinds), { nil: null }),
  endReason: fc.constant(null),
  runner: fc.option(fc.constantFrom(...(['launching', 'serving', 'idle', 'closing', 'gone'] as const)), {
    nil: null,
  }),
  job: fc.option(
    fc.record({
      jobId: fc.constant('job_1'),
      phase: fc.constantFrom(...(['pending', 'starting', 'running'] as const)),
      pod: fc.option(
        fc.record({
          wait: fc.option(fc.constantFrom(...(['place', 'volume', 'image', 'start'] as const)), {
            nil: null,
          }),
          message: fc.option(fc.string(), { nil: null }),
          sinceMs: someTime,
          nodeName: fc.option(fc.constant('node1'), { nil: null }),
        }),
        { nil: null },
      ),
    }),
    { nil: null },
  ),
});

/** Any facts at all, also ones that the writes never make; only `status` and `terminalStatus` agree. */
export const anyFacts: fc.Arbitrary<RunFacts> = fc
  .record({
    status: fc.constantFrom(...runStatusSchema.options),
    failureKind: fc.option(fc.constantFrom(...runFailureKinds), { nil: null }),
    startedAtMs: someTime,
    finishedAtMs: someTime,
    deadlineAtMs: someTime,
    cancelRequestedAtMs: someTime,
    pausedSinceMs: someTime,
    pausedMs: fc.integer({ min: 0, max: 10_000_000 }),
    parked: fc.option(
      fc.record({
        reason: fc.constantFrom('person', 'provider-limit'),
        sinceMs: fc.constant(ago(5)),
        untilMs: someTime,
      }),
      { nil: null },
    ),
    sessionEvicted: fc.boolean(),
    attempt: fc.option(anyAttempt, { nil: null }),
    formerAttempts: fc.constantFrom([], [{ epoch: 1, failureKind: 'runner-lost', counted: true }]),
    pendingRequest: fc.option(
      fc.constant({
        requestId: 'req_1',
        kind: 'command',
        summary: 's',
        askedAtMs: ago(3),
        expiresAtMs: null,
      }),
      { nil: null },
    ),
    lastResolvedAtMs: someTime,
    lastActivity: fc.option(fc.constant(activity), { nil: null }),
    lastError: fc.option(
      fc.record({
        seq: fc.constant(10),
        epoch: fc.integer({ min: 1, max: 2 }),
        atMs: fc.constant(null),
        willRetry: fc.boolean(),
        codexErrorInfo: fc.option(fc.constant('other'), { nil: null }),
        providerStatus: fc.option(fc.constantFrom(200, 401, 503), { nil: null }),
      }),
      { nil: null },
    ),
    recoveredSeq: fc.option(fc.constant(11), { nil: null }),
    lastDisconnect: fc.option(fc.record({ seq: fc.integer({ min: 1, max: 20 }), epoch: fc.constant(1) }), {
      nil: null,
    }),
    idleTimeoutMs: fc.constantFrom(0, 20_000, 600_000),
  })
  .map(({ idleTimeoutMs, ...facts }) => {
    const terminalStatus = terminalStatusSchema.safeParse(facts.status).data ?? null;
    return {
      ...running(),
      ...facts,
      terminalStatus,
      finishedAtMs: terminal.has(facts.status) ? (facts.finishedAtMs ?? nowMs) : null,
      policy: { ...policy, idleTimeoutMs },
    };
  });
