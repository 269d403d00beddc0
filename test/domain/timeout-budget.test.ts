import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TimeoutBudget } from '../../contract/supervisor.js';
import type { RunFacts } from '../../domain/run-facts.js';
import { hardElapsedMs, timeoutBudget } from '../../domain/timeout-budget.js';
import { ago, anyFacts, ended, nowMs, policy, running, unclaimed } from './support/run-facts.js';

type Expected = Pick<TimeoutBudget, 'state' | 'timeoutKind' | 'remainingMs'> & Partial<TimeoutBudget>;
const shown = (state: Expected['state'], timeoutKind: Expected['timeoutKind'], seconds: number | null) => ({
  state,
  timeoutKind,
  remainingMs: seconds === null ? null : seconds * 1_000,
});
const silent = { firstOutputAtMs: null };

describe('timeoutBudget shows the limit with the least left', () => {
  it.each<[string, RunFacts, Expected]>([
    ['deadline', running({ deadlineAtMs: ago(-90) }), { ...shown('ok', 'hard', 90), source: 'deadline' }],
    [
      'hard',
      running({ startedAtMs: ago(6_700) }),
      { ...shown('warning', 'hard', 500), timeoutMs: 7_200_000 },
    ],
    [
      'hard without an idle limit',
      running({ policy: { ...policy, idleTimeoutMs: 0 } }),
      shown('ok', 'hard', 7_145),
    ],
    ['claim', running({ startedAtMs: null }, unclaimed), { ...shown('ok', 'claim', 240), elapsedMs: 60_000 }],
    ['first output', running({}, silent), shown('ok', 'first-output', 60)],
    [
      'first output after an answer',
      running({ lastResolvedAtMs: ago(20) }, silent),
      shown('ok', 'first-output', 100),
    ],
    ['idle once the model was heard', running(), shown('ok', 'idle', 599)],
    [
      'idle after an answer',
      running({ lastResolvedAtMs: ago(20) }, { lastProgressAtMs: ago(50) }),
      shown('ok', 'idle', 580),
    ],
    [
      'idle from the claim on, when nothing was heard since',
      running({}, { lastProgressAtMs: ago(900), firstEventAtMs: null, claimedAtMs: ago(100) }),
      shown('ok', 'idle', 500),
    ],
    [
      'hard only, while the lease is expired',
      running({}, { leaseExpiresAtMs: ago(1) }),
      shown('ok', 'hard', 7_145),
    ],
    ['hard only, between attempts', running({}, { endedAtMs: ago(2) }), shown('ok', 'hard', 7_145)],
  ])('%s', (_limit, facts, expected) => {
    expect(timeoutBudget(facts, nowMs)).toMatchObject(expected);
  });
});

describe('the state of a timeout budget', () => {
  const long = { claimedAtMs: ago(700), firstEventAtMs: ago(690) };
  const asked = { pausedSinceMs: ago(30), pausedMs: 10_000 };
  it.each<[string, RunFacts, Expected]>([
    ['1 the run has ended', ended('failed'), shown('not-applicable', null, null)],
    ['1 its outcome is stored', running({}, { outcome: 'failed' }), shown('not-applicable', null, null)],
    [
      '1 nothing was begun',
      running({ attempt: null, startedAtMs: null }),
      shown('not-applicable', null, null),
    ],
    [
      '2 idle stands still while a person is awaited',
      running(asked, { ...long, lastProgressAtMs: ago(31) }),
      { ...shown('paused', 'idle', 599), idleElapsedMs: 1_000 },
    ],
    [
      '2 hard stands still while the turn is parked',
      running({ ...asked, startedAtMs: ago(100) }, { endedAtMs: ago(30) }),
      { ...shown('paused', 'hard', 7_140), elapsedMs: 60_000 },
    ],
    [
      '3 the deadline does not stand still',
      running({ ...asked, deadlineAtMs: ago(1) }),
      shown('exceeded', 'hard', 0),
    ],
    ['3 exceeded', running({}, { ...long, lastProgressAtMs: ago(601) }), shown('exceeded', 'idle', 0)],
    [
      '4 at most a fifth is left',
      running({}, { ...long, lastProgressAtMs: ago(480) }),
      shown('warning', 'idle', 120),
    ],
    [
      '5 more than a fifth is left',
      running({}, { ...long, lastProgressAtMs: ago(479) }),
      shown('ok', 'idle', 121),
    ],
  ])('%s', (_row, facts, expected) => {
    expect(timeoutBudget(facts, nowMs)).toMatchObject(expected);
  });

  it('tells ages and anchors whatever limit is shown', () => {
    expect(timeoutBudget(ended('failed', { finishedAtMs: ago(10) }), nowMs)).toMatchObject({
      commandElapsedMs: 60_000,
      runElapsedMs: 60_000,
      lastActivitySeq: 9,
      lastActivityAt: new Date(ago(1)).toISOString(),
    });
  });
});

describe('any timeout budget', () => {
  it('has never less than nothing left, and never more than its limit', () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        const budget = timeoutBudget(facts, nowMs);
        expect(budget.remainingMs ?? 0).toBeGreaterThanOrEqual(0);
        expect(budget.remainingMs ?? 0).toBeLessThanOrEqual(budget.timeoutMs ?? 0);
        expect(budget.elapsedMs ?? 0).toBeGreaterThanOrEqual(0);
        expect(budget.idleElapsedMs ?? 0).toBeGreaterThanOrEqual(0);
        expect(budget.timeoutKind === null).toBe(budget.state === 'not-applicable');
        if (facts.terminalStatus !== null) expect(budget.state).toBe('not-applicable');
      }),
    );
  });

  it('uses up nothing of the hard limit while it stands still', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), (laterMs) => {
        const paused = running({ pausedSinceMs: ago(30) });
        expect(hardElapsedMs(paused, nowMs + laterMs)).toBe(hardElapsedMs(paused, nowMs));
        expect(hardElapsedMs(running(), nowMs + laterMs)).toBe(hardElapsedMs(running(), nowMs) + laterMs);
      }),
    );
  });
});
