import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { runFailureKinds } from '../../contract/failure-kinds.js';
import { terminalCategories, terminalClassificationSchema } from '../../contract/supervisor.js';
import type { RunFacts } from '../../domain/run-facts.js';
import { classifyTerminal } from '../../domain/terminal-classification.js';
import {
  agentError,
  ago,
  anyFacts,
  ended,
  evidence,
  nowMs,
  running,
  unclaimed,
} from './support/run-facts.js';

const parked = { parked: { reason: 'provider-limit', sinceMs: ago(5), untilMs: null } } as const;
const expired = { leaseExpiresAtMs: ago(5) };
const retrying = { ...agentError, willRetry: true };
const drop = { seq: 10, epoch: 1 };
const silent = { lastProgressAtMs: ago(700), claimedAtMs: ago(800), firstEventAtMs: null };

type Row = readonly [number, string, RunFacts, string, Record<string, unknown>?];
const rows: readonly Row[] = [
  [1, 'lease live', running(), 'not-terminal high', { providerInterruption: 'no' }],
  [1, 'not claimed', running({}, unclaimed), 'not-terminal high'],
  [1, 'no attempt', running({ attempt: null }), 'not-terminal high'],
  [1, 'parked, lease expired', running(parked, expired), 'not-terminal high'],
  [1, 'between attempts', running({}, { ...expired, endedAtMs: ago(1) }), 'not-terminal high'],
  [1, 'outcome stored', running({}, { ...expired, outcome: 'failed' }), 'not-terminal high'],
  [
    1,
    'the provider is asked again right now',
    running({ lastError: retrying }),
    'not-terminal high',
    { providerInterruption: 'yes', retryInterruptionObserved: false },
  ],
  [2, 'lease expired', running({}, expired), 'runner-lost low', { providerInterruptionKnown: false }],
  [2, 'no lease after the claim', running({}, { leaseExpiresAtMs: null }), 'runner-lost low'],
  [2, 'lease expired, runner gone', running({}, { ...expired, runner: 'gone' }), 'runner-lost high'],
  [3, 'completed after a cancel', ended('completed', { cancelRequestedAtMs: ago(9) }), 'completed high'],
  [4, 'asked for', ended('cancelled', { cancelRequestedAtMs: ago(9) }), 'cancelled-by-request high'],
  [5, 'nobody asked', ended('cancelled', { failureKind: 'cancelled' }), 'cancelled-unattributed low'],
  ...(
    [
      'runner-never-claimed',
      'runner-lost',
      'runner-oom-killed',
      'runner-evicted',
      'runner-unhealthy',
      'node-lost',
      'image-pull-failed',
      'invalid-pod',
      'prerequisite-failed',
      'unschedulable',
      'storage-unavailable',
      'session-store-evicted',
    ] as const
  ).map(
    (failureKind): Row => [6, failureKind, ended('failed', { failureKind }, silent), `${failureKind} high`],
  ),
  [
    7,
    'hard-timeout, with a provider error',
    ended('failed', { failureKind: 'hard-timeout', lastError: agentError }),
    'hard-timeout high',
    { hardTimeout: true, idleTimeout: false, timeoutKind: 'hard' },
  ],
  [7, 'deadline', ended('failed', { failureKind: 'deadline-exceeded' }), 'hard-timeout high'],
  [
    7,
    'only elapsed',
    ended('failed', { failureKind: 'agent-error', startedAtMs: ago(7_200) }),
    'hard-timeout medium',
  ],
  [7, 'deadline, only elapsed', ended('failed', { deadlineAtMs: ago(1) }), 'hard-timeout medium'],
  [
    8,
    'idle-timeout',
    ended('failed', { failureKind: 'idle-timeout' }),
    'idle-timeout high',
    { idleTimeout: true, hardTimeout: false, timeoutKind: 'idle', providerInterruption: 'unknown' },
  ],
  [
    8,
    'first-output-timeout',
    ended('failed', { failureKind: 'first-output-timeout' }),
    'idle-timeout high',
    { timeoutKind: 'first-output' },
  ],
  [8, 'only elapsed', ended('failed', { failureKind: 'infra-failed' }, silent), 'idle-timeout medium'],
  [9, 'budget', ended('failed', { failureKind: 'budget-exceeded' }), 'budget-exceeded high'],
  [10, 'poison turn', ended('blocked', { failureKind: 'poison-turn' }), 'blocked high'],
  [
    10,
    'blocked with a kind of the runner and a provider error',
    ended('blocked', { failureKind: 'runner-oom-killed', lastError: agentError }),
    'blocked high',
  ],
  [
    11,
    'proxy and agent say so',
    ended('failed', { failureKind: 'provider-overloaded' }, { provider: evidence('both') }),
    'provider-failure high',
    { providerEvidence: 'both', providerInterruption: 'yes', providerInterruptionKnown: true },
  ],
  [
    11,
    'only the proxy',
    ended('failed', { failureKind: 'provider-auth' }, { provider: evidence('proxy') }),
    'provider-failure medium',
    { providerEvidence: 'proxy' },
  ],
  [
    11,
    'only an error of the agent with a status',
    ended('failed', { failureKind: 'agent-error', lastError: agentError }),
    'provider-failure medium',
    { providerEvidence: 'agent' },
  ],
  [
    11,
    'a provider kind although the clock has run out',
    ended('failed', { failureKind: 'provider-unavailable', startedAtMs: ago(9_000) }, silent),
    'provider-failure medium',
  ],
  [
    12,
    'tried again, no output after it',
    ended('failed', { failureKind: 'agent-error', lastError: retrying }),
    'provider-retry-interrupted medium',
    { retryInterruptionObserved: true, retryInterruptionSeq: 10, retryInterruptionKind: 'serverOverloaded' },
  ],
  [
    12,
    'although the kind is the provider’s',
    ended('failed', { failureKind: 'provider-overloaded', lastError: retrying }),
    'provider-retry-interrupted medium',
  ],
  [
    13,
    'the last of the agent',
    ended('failed', { failureKind: 'agent-error', lastDisconnect: drop }),
    'transport-disconnect medium',
    { transportDisconnectObserved: true, transportDisconnectSeq: 10 },
  ],
  [
    14,
    'activity after the drop',
    ended('failed', { failureKind: 'agent-error', lastDisconnect: { seq: 8, epoch: 1 } }),
    'failed-known medium',
    { transportDisconnectObserved: false },
  ],
  [
    14,
    'the agent recovered from its error',
    ended('failed', { failureKind: 'agent-error', lastError: retrying, recoveredSeq: 11 }),
    'failed-known medium',
  ],
  [
    14,
    'the error is of an attempt before',
    ended('failed', { failureKind: 'agent-error', lastError: retrying }, { epoch: 2 }),
    'failed-known medium',
  ],
  [
    14,
    'an error of the agent that is not the provider’s',
    ended('failed', {
      failureKind: 'infra-failed',
      lastError: { ...agentError, providerStatus: 200, codexErrorInfo: 'sandboxError' },
    }),
    'failed-known medium',
  ],
  [15, 'no kind', ended('failed'), 'unknown low', { providerInterruptionKnown: false }],
];

describe('classifyTerminal', () => {
  it.each(
    rows.map((row) => ({ row: row[0], name: row[1], facts: row[2], expected: row[3], fields: row[4] ?? {} })),
  )('row $row: $name', ({ facts, expected, fields }) => {
    const classification = classifyTerminal(facts, nowMs);
    expect(`${classification.category} ${classification.confidence}`).toBe(expected);
    expect(classification).toMatchObject(fields);
  });

  it('has a winning case for every row and every category', () => {
    expect([...new Set(rows.map(([row]) => row))]).toEqual(
      Array.from({ length: 15 }, (_, index) => index + 1),
    );
    const won = new Set(rows.map(([, , facts]) => classifyTerminal(facts, nowMs).category));
    expect(terminalCategories.filter((category) => !won.has(category))).toEqual([]);
  });

  it.each(runFailureKinds)('finds a cause for a run that failed with %s', (failureKind) => {
    expect(classifyTerminal(ended('failed', { failureKind }), nowMs).category).not.toBe('unknown');
  });
});

describe('any classification', () => {
  it('is one of the contract, and terminal exactly for what has ended', () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const classification = classifyTerminal(facts, nowMs);
        expect(terminalClassificationSchema.parse(classification)).toEqual(classification);
        expect(classification.providerInterruptionKnown).toBe(
          classification.providerInterruption !== 'unknown',
        );
        if (facts.terminalStatus === null) {
          expect(['not-terminal', 'runner-lost']).toContain(classification.category);
        } else expect(classification.category).not.toBe('not-terminal');
      }),
    );
  });

  it('of an ended run stays as it is, whatever the time', () => {
    fc.assert(
      fc.property(anyFacts, fc.nat(1_000_000_000), (facts, laterMs) => {
        fc.pre(facts.terminalStatus !== null);
        expect(classifyTerminal(facts, nowMs + laterMs)).toEqual(classifyTerminal(facts, nowMs));
      }),
    );
  });
});
