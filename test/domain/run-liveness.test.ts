import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { diagnosisSchema, livenessSchema, terminalCategories } from '../../contract/supervisor.js';
import type { JobPodFacts, RunFacts } from '../../domain/run-facts.js';
import { runLiveness } from '../../domain/run-liveness.js';
import { agentError, ago, anyFacts, ended, nowMs, running, unclaimed } from './support/run-facts.js';

const request = {
  requestId: 'req_1',
  kind: 'command',
  summary: 'run `rm -rf build`?',
  askedAtMs: ago(20),
  expiresAtMs: ago(-900),
};
const at = (seconds: number) => new Date(ago(seconds)).toISOString();
const parkedFor = (reason: 'person' | 'provider-limit') => ({
  parked: { reason, sinceMs: ago(50), untilMs: reason === 'person' ? null : ago(-60) },
  pendingRequest: reason === 'person' ? request : null,
});

/** Phase, recovery actions in order, a word of the summary, since. */
type Row = readonly [string, RunFacts, string, RegExp, string | null];
const rows: readonly Row[] = [
  ['queued', running({ attempt: null }), 'wait cancel', /has not begun/, at(70)],
  [
    'starting',
    running({ status: 'pending' }, unclaimed),
    'describe-job wait cancel',
    /being started/,
    at(60),
  ],
  ['claimed', running({ status: 'claimed' }), 'wait events cancel', /starts the agent/, at(60)],
  ['running', running(), 'events steer cancel', /is working/, at(55)],
  [
    'quiet',
    running({}, { lastProgressAtMs: ago(360), claimedAtMs: ago(400), firstEventAtMs: null }),
    'events steer cancel',
    /for 6 min; its runner is alive/,
    at(360),
  ],
  [
    'finishing',
    running({}, { outcome: 'failed', outcomeAtMs: ago(3) }),
    'wait events',
    /ended failed/,
    at(3),
  ],
  ['waiting', running({ pendingRequest: request }), 'answer cancel', /waits for the answer/, at(20)],
  ['parked', running(parkedFor('person')), 'answer cancel', /until a person answers/, at(50)],
  [
    'parked',
    running({ ...parkedFor('person'), pendingRequest: null }),
    'wait cancel',
    /until a person answers/,
    at(50),
  ],
  ['parked', running(parkedFor('provider-limit')), 'wait cancel', /goes on by itself/, at(50)],
  [
    'lease-expired',
    running({}, { leaseExpiresAtMs: ago(9) }),
    'wait-for-retry cancel',
    /stopped reporting/,
    at(9),
  ],
  [
    'lease-expired',
    running({}, { leaseExpiresAtMs: ago(9), runner: 'gone' }),
    'wait-for-retry cancel',
    /is gone/,
    at(9),
  ],
  [
    'retrying',
    running({}, { endedAtMs: ago(4), endFailureKind: 'runner-lost' }),
    'wait-for-retry events cancel',
    /Attempt 1 ended with runner-lost; attempt 2/,
    at(4),
  ],
  [
    'retrying',
    running(
      { formerAttempts: [{ epoch: 1, failureKind: 'agent-error', counted: true }] },
      { ...unclaimed, epoch: 2 },
    ),
    'wait-for-retry events cancel',
    /Attempt 2 is being started after attempt 1 ended with agent-error/,
    at(60),
  ],
  ['terminal', ended('failed', { failureKind: 'agent-error' }), 'send-again events', /failed/, at(0)],
  ['terminal', ended('blocked', { failureKind: 'poison-turn' }), 'send-again events', /blocked/, at(0)],
  [
    'terminal',
    ended('failed', { failureKind: 'runner-lost', sessionEvicted: true }),
    'new-session events',
    /lost/,
    at(0),
  ],
  ['terminal', ended('completed'), '', /completed/, at(0)],
  ['terminal', ended('cancelled', { cancelRequestedAtMs: ago(3) }), '', /cancelled on request/, at(0)],
];

const wordsOf = (facts: RunFacts) =>
  runLiveness(facts, nowMs)
    .liveness.recoveryActions.map(({ action }) => action)
    .join(' ');

describe('the pod of a runner in the diagnosis', () => {
  const starting = (pod: Partial<JobPodFacts>) =>
    runLiveness(
      running(
        { status: 'pending', startedAtMs: null },
        {
          ...unclaimed,
          job: {
            jobId: 'job_1',
            phase: 'pending',
            pod: { wait: null, message: null, sinceMs: ago(30), nodeName: null, ...pod },
          },
        },
      ),
      nowMs,
    ).diagnosis;

  it.each([
    ['place', '0/3 nodes are available', /waits for a place/, /quota/],
    ['volume', 'Multi-Attach error', /waits for the session's volume/, /another node/],
    ['image', 'ErrImagePull: not found', /image of the runner cannot be pulled/, /wrong name/],
  ] as const)('says what it waits for: %s', (wait, message, summary, cause) => {
    const diagnosis = starting({ wait, message });
    expect(diagnosis.summary).toMatch(summary);
    expect(diagnosis.likelyCause).toMatch(cause);
    expect(diagnosis.since).toBe(new Date(ago(30)).toISOString());
    expect(diagnosis.evidence).toContain(message);
  });

  it('names the node, and says nothing of a wait that is over', () => {
    const diagnosis = starting({ nodeName: 'node1' });
    expect(diagnosis.summary).toBe('A runner is being started for the turn.');
    expect(diagnosis.evidence).toContain('on node node1');
  });

  it('says why a runner that is to go is still there: the node that holds it, and the cure', () => {
    const message = 'pod x is on node node1, which does not answer: bring the node back';
    const { diagnosis } = runLiveness(
      running(
        {},
        {
          endedAtMs: ago(5),
          endFailureKind: 'node-lost',
          job: {
            jobId: 'job_1',
            phase: 'lost',
            pod: { wait: null, message, sinceMs: null, nodeName: 'node1' },
          },
        },
      ),
      nowMs,
    );
    expect(diagnosis.evidence).toContain(message);
  });
});

describe('recovery actions and diagnosis by phase', () => {
  it.each(rows)('%s %#', (phase, facts, actions, summary, since) => {
    const { liveness, diagnosis } = runLiveness(facts, nowMs);
    expect(liveness.phase).toBe(phase);
    expect(wordsOf(facts)).toBe(actions);
    expect(diagnosis.summary).toMatch(summary);
    expect(diagnosis.since).toBe(since);
  });

  it('of a cancelled turn say that it ends, and leave out what is too late', () => {
    const cancelled = { cancelRequestedAtMs: ago(2) };
    expect(wordsOf(running(cancelled))).toBe('wait events');
    expect(wordsOf(running({ ...cancelled, attempt: null }))).toBe('wait');
    expect(runLiveness(running(cancelled), nowMs).diagnosis.evidence).toContain(
      `cancel requested at ${at(2)}`,
    );
  });

  it('name what they act on', () => {
    const [step] = runLiveness(running({ pendingRequest: request }), nowMs).liveness.recoveryActions;
    expect(step).toMatchObject({
      operation: 'send',
      resourceKind: 'agent-request',
      resourceName: 'req_1',
      inputKind: 'answer',
      sessionId: 'sess_1',
      runId: 'run_1',
      reasonHint: 'run `rm -rf build`?',
      reasonRequired: false,
    });
    const [events] = runLiveness(running({ lastSeq: 250 }), nowMs).liveness.recoveryActions;
    expect(events).toMatchObject({ afterSeq: 150, limit: 100 });
  });

  it('tell the cause of a failure without repeating what provider or agent wrote', () => {
    const failed = ended('failed', {
      failureKind: 'provider-overloaded',
      failureMessage: 'body with sk-secret',
      lastError: agentError,
      formerAttempts: [{ epoch: 1, failureKind: 'provider-overloaded', counted: true }],
    });
    const { diagnosis } = runLiveness(failed, nowMs);
    expect(diagnosis).toMatchObject({
      summary: 'The model provider failed the turn.',
      likelyCause: 'provider-overloaded',
      evidence: [
        'terminal status failed',
        'failure kind provider-overloaded',
        'the provider failed: provider-overloaded (medium confidence)',
        'the agent reported serverOverloaded, status 503',
        'former attempts 1: provider-overloaded',
      ],
    });
    expect(JSON.stringify(diagnosis)).not.toContain('sk-secret');
  });
});

describe('any liveness', () => {
  it('is one of the contract, with a sentence', () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const { liveness, diagnosis } = runLiveness(facts, nowMs);
        expect(livenessSchema.parse(liveness)).toEqual(liveness);
        expect(diagnosisSchema.parse(diagnosis)).toEqual(diagnosis);
        expect(diagnosis.summary).toMatch(/^[A-Z].*[.]$/);
        expect(liveness.lease.leaseExpired).toBe(
          liveness.phase === 'lease-expired' || isParkedExpired(liveness),
        );
        expect(liveness.active).toBe(facts.terminalStatus === null);
        expect(terminalCategories).toContain(liveness.terminalClassification.category);
      }),
    );
  });
});

/** A parked turn whose last lease was never taken back. */
const isParkedExpired = (liveness: { phase: string; lease: { leaseExpired: boolean } }) =>
  liveness.phase === 'parked' && liveness.lease.leaseExpired;
