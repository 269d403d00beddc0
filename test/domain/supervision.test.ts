import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { executionPolicySchema } from '../../contract/execution-policy.js';
import {
  cancelGraceMs,
  fateGraceMs,
  hardLeftMs,
  judgeAttempt,
  type SupervisionFacts,
  type SupervisionVerdict,
} from '../../domain/supervision.js';

const policy = executionPolicySchema.parse({});
const nowMs = 100_000_000;
const facts = (over: Partial<SupervisionFacts> = {}): SupervisionFacts => ({
  nowMs,
  runStatus: 'running',
  currentEpoch: 1,
  policy,
  cancelRequestedAtMs: null,
  cancelDeadlineMs: null,
  deadlineAtMs: null,
  createdAtMs: nowMs - 60_000,
  startedAtMs: nowMs - 50_000,
  pausedSinceMs: null,
  pausedMs: 0,
  claimDeadlineMs: nowMs - 40_000,
  claimedAtMs: nowMs - 55_000,
  firstEventAtMs: nowMs - 40_000,
  firstOutputAtMs: nowMs - 30_000,
  lastProgressAtMs: nowMs - 1_000,
  waitingSinceMs: null,
  lastResolvedAtMs: null,
  canPark: true,
  givenLauncher: null,
  outcome: null,
  outcomeAtMs: null,
  jobName: 'agentrun-x-1',
  leaseExpiresAtMs: nowMs + 30_000,
  lookingSinceMs: null,
  lastSeq: 5,
  lastEventType: 'agent_message',
  process: { state: 'alive' },
  ...over,
});
const unclaimed = {
  claimedAtMs: null,
  startedAtMs: null,
  firstEventAtMs: null,
  firstOutputAtMs: null,
  lastProgressAtMs: null,
  leaseExpiresAtMs: null,
  claimDeadlineMs: nowMs + 1,
};
const silent = { claimedAtMs: 0, firstEventAtMs: 0, lastProgressAtMs: 0, startedAtMs: nowMs - 1 };
const mute = { firstOutputAtMs: null, claimedAtMs: nowMs - policy.firstOutputTimeoutMs };
const asking = { waitingSinceMs: nowMs - 1, pausedSinceMs: nowMs - 1 };
const old = { startedAtMs: nowMs - policy.hardTimeoutMs };
const startedAt = (startedAtMs: number) => ({ state: 'alive', startedAtMs, node: 'node1' }) as const;
const agentFailed = {
  outcome: { terminalStatus: 'failed', failureKind: 'agent-error' },
  outcomeAtMs: nowMs - fateGraceMs + 1,
} as const;
const podWaits = { state: 'waiting', for: 'place', sinceMs: 0, message: 'no room' } as const;
const lostNode = { state: 'alive', startedAtMs: 0, node: 'node1', lostNode: 'node1' } as const;
const goneNow = { process: { state: 'gone', cause: null } } as const;
const words = (verdict: SupervisionVerdict) => {
  if (verdict.kind === 'wait') return `wait ${verdict.phase}`;
  if (verdict.kind === 'timeout') return `timeout ${verdict.timeoutKind}`;
  if (verdict.kind === 'cancel-overdue') return `cancel-overdue ${verdict.claimed ? 'claimed' : 'unclaimed'}`;
  if (verdict.kind === 'runner-gone')
    return `runner-gone ${verdict.begun ? 'begun' : 'not begun'} ${verdict.cause}`;
  return 'begun' in verdict ? `${verdict.kind} ${verdict.begun ? 'begun' : 'not begun'}` : verdict.kind;
};

describe('judgeAttempt', () => {
  it.each<[string, Partial<SupervisionFacts>, string]>([
    ['1 terminal run', { runStatus: 'completed', outcome: { terminalStatus: 'completed' } }, 'superseded'],
    ['1 other epoch', { currentEpoch: 2, ...goneNow }, 'superseded'],
    [
      '2 outcome before a dead process and a cancel',
      { outcome: { terminalStatus: 'completed' }, ...goneNow, cancelRequestedAtMs: 0 },
      'outcome',
    ],
    [
      '2 an agent that failed, and whose pod had no memory left',
      { ...agentFailed, process: { state: 'gone', cause: 'oom-killed' } },
      'runner-gone begun oom-killed',
    ],
    [
      '2 another word stands, whatever became of its pod',
      {
        outcome: { terminalStatus: 'failed', failureKind: 'provider-auth' },
        process: { state: 'gone', cause: 'oom-killed' },
      },
      'outcome',
    ],
    ['2 an agent that failed in a process of ours', agentFailed, 'outcome'],
    [
      '13 an agent that failed: the fate of its pod is waited for',
      { ...agentFailed, process: startedAt(0) },
      'wait running',
    ],
    [
      '2 but not for ever',
      { ...agentFailed, outcomeAtMs: nowMs - fateGraceMs, process: startedAt(0) },
      'outcome',
    ],
    [
      '3 a launcher was given',
      { ...unclaimed, givenLauncher: 'process', claimDeadlineMs: nowMs },
      'launcher-given',
    ],
    [
      '4 given, and cancelled',
      { ...unclaimed, ...goneNow, givenLauncher: 'process', cancelRequestedAtMs: 0 },
      'runner-gone not begun null',
    ],
    ['4 process gone, at once', goneNow, 'runner-gone begun null'],
    ['4 before it was claimed', { ...unclaimed, ...goneNow }, 'runner-gone not begun null'],
    ['4 with its cause', { process: { state: 'gone', cause: 'oom-killed' } }, 'runner-gone begun oom-killed'],
    ['4 before an overdue cancel', { ...goneNow, cancelRequestedAtMs: 0 }, 'runner-gone begun null'],
    ['5 cancel not answered', { cancelRequestedAtMs: nowMs - cancelGraceMs }, 'cancel-overdue claimed'],
    [
      '5 cancel with a deadline of its own',
      { cancelRequestedAtMs: nowMs - 2_000, cancelDeadlineMs: 2_000 },
      'cancel-overdue claimed',
    ],
    ['5 cancel, and nobody to ask', { ...unclaimed, cancelRequestedAtMs: nowMs }, 'cancel-overdue unclaimed'],
    [
      '5 before the deadline',
      { cancelRequestedAtMs: nowMs - cancelGraceMs, deadlineAtMs: nowMs },
      'cancel-overdue claimed',
    ],
    ['13 cancel asked', { cancelRequestedAtMs: nowMs - 1 }, 'wait cancelling'],
    [
      '13 cancel with a longer deadline',
      { cancelRequestedAtMs: nowMs - cancelGraceMs, cancelDeadlineMs: cancelGraceMs + 1 },
      'wait cancelling',
    ],
    ['6 deadline', { deadlineAtMs: nowMs }, 'deadline-exceeded'],
    ['6 deadline before hard', { deadlineAtMs: nowMs, ...old }, 'deadline-exceeded'],
    ['6 deadline while a person is awaited', { deadlineAtMs: nowMs, ...asking }, 'deadline-exceeded'],
    ['6 deadline before a claim', { ...unclaimed, deadlineAtMs: nowMs }, 'deadline-exceeded'],
    ['13 deadline ahead', { deadlineAtMs: nowMs + 1 }, 'wait running'],
    ['7 hard limit', old, 'timeout hard'],
    ['7 hard before lease', { ...old, leaseExpiresAtMs: 0 }, 'timeout hard'],
    [
      '7 hard over all attempts: a later one that is not claimed yet',
      { ...unclaimed, ...old },
      'timeout hard',
    ],
    ['13 hard: pauses that are over do not count', { ...old, pausedMs: 1 }, 'wait running'],
    ['13 hard stands still while a person is awaited', { ...old, ...asking }, 'wait waiting'],
    ['8 not claimed in time', { ...unclaimed, claimDeadlineMs: nowMs }, 'never-claimed'],
    [
      '8 not claimed in time since its containers began',
      { ...unclaimed, claimDeadlineMs: 0, process: startedAt(nowMs - policy.claimTimeoutMs) },
      'never-claimed',
    ],
    [
      '13 its containers began later than the launch',
      { ...unclaimed, claimDeadlineMs: 0, process: startedAt(nowMs - policy.claimTimeoutMs + 1) },
      'wait starting',
    ],
    [
      '13 its pod waits: how long is said by the cluster',
      { ...unclaimed, claimDeadlineMs: 0, process: podWaits },
      'wait starting',
    ],
    [
      '6 deadline while its pod waits',
      { ...unclaimed, process: podWaits, deadlineAtMs: nowMs },
      'deadline-exceeded',
    ],
    [
      '4 its pod was given up',
      { ...unclaimed, process: { state: 'gone', cause: 'unschedulable' } },
      'runner-gone not begun unschedulable',
    ],
    ['13 its node does not answer, its lease is live', { process: lostNode }, 'wait running'],
    [
      '9 its node does not answer, and its lease expired',
      { process: lostNode, leaseExpiresAtMs: nowMs },
      'runner-gone begun node-lost',
    ],
    [
      '13 the same, not claimed yet: the cluster says what becomes of it',
      { ...unclaimed, process: lostNode },
      'wait starting',
    ],
    [
      '13 the same while nobody could renew a lease',
      { process: lostNode, leaseExpiresAtMs: nowMs, lookingSinceMs: nowMs - policy.leaseMs + 1 },
      'wait lease-expired',
    ],
    [
      '9 and a lease later it counts',
      { process: lostNode, leaseExpiresAtMs: nowMs, lookingSinceMs: nowMs - policy.leaseMs },
      'runner-gone begun node-lost',
    ],
    ['13 not claimed yet', unclaimed, 'wait starting'],
    ['9 lease lost', { leaseExpiresAtMs: nowMs - policy.partitionGraceMs }, 'lease-lost begun'],
    [
      '9 lease lost, claimed and never heard of',
      { ...unclaimed, claimedAtMs: nowMs - policy.partitionGraceMs },
      'lease-lost not begun',
    ],
    [
      '9 before the park',
      {
        leaseExpiresAtMs: nowMs - policy.partitionGraceMs,
        waitingSinceMs: nowMs - policy.parkAfterMs,
        pausedSinceMs: nowMs - policy.parkAfterMs,
      },
      'lease-lost begun',
    ],
    [
      '13 lease expired, within the grace',
      { leaseExpiresAtMs: nowMs - policy.partitionGraceMs + 1 },
      'wait lease-expired',
    ],
    [
      '13 lease expired while the store was away: the grace counts from the first look',
      { leaseExpiresAtMs: 0, lookingSinceMs: nowMs - policy.partitionGraceMs + 1 },
      'wait lease-expired',
    ],
    [
      '9 and is over then too',
      { leaseExpiresAtMs: 0, lookingSinceMs: nowMs - policy.partitionGraceMs },
      'lease-lost begun',
    ],
    [
      '10 a person is awaited for long',
      { waitingSinceMs: nowMs - policy.parkAfterMs, pausedSinceMs: nowMs - policy.parkAfterMs },
      'park-waiting',
    ],
    [
      '13 not one that somebody else started',
      { waitingSinceMs: 0, pausedSinceMs: 0, canPark: false },
      'wait waiting',
    ],
    [
      '13 not one that is cancelled',
      { waitingSinceMs: 0, pausedSinceMs: 0, cancelRequestedAtMs: nowMs },
      'wait cancelling',
    ],
    ['13 a person is awaited', asking, 'wait waiting'],
    ['11 no first output', mute, 'timeout first-output'],
    ['11 events are no output', { ...mute, firstEventAtMs: nowMs }, 'timeout first-output'],
    ['11 before idle', { ...silent, ...mute, claimedAtMs: 0 }, 'timeout first-output'],
    ['13 no first output while a person is awaited', { ...mute, ...asking }, 'wait waiting'],
    ['13 no first output since an answer', { ...mute, lastResolvedAtMs: nowMs - 1 }, 'wait running'],
    ['13 claimed', { firstEventAtMs: null, firstOutputAtMs: null }, 'wait claimed'],
    ['12 idle', { ...silent, lastProgressAtMs: nowMs - policy.idleTimeoutMs }, 'timeout idle'],
    ['13 idle stands still while a person is awaited', { ...silent, ...asking }, 'wait waiting'],
    ['13 idle: the silence was a person', { ...silent, lastResolvedAtMs: nowMs - 1 }, 'wait running'],
    ['13 idle switched off', { ...silent, policy: { ...policy, idleTimeoutMs: 0 } }, 'wait running'],
    [
      '13 mute while the lease is expired: nobody can hear it',
      { ...mute, leaseExpiresAtMs: nowMs },
      'wait lease-expired',
    ],
    ['13 idle while the lease is expired', { ...silent, leaseExpiresAtMs: nowMs }, 'wait lease-expired'],
    ['13 runs', {}, 'wait running'],
    ['13 nobody sees the process', { process: { state: 'unknown' } }, 'wait running'],
  ])('%s', (_row, over, expected) => {
    expect(words(judgeAttempt(facts(over), 1))).toBe(expected);
  });

  const time = fc.integer({ min: nowMs - 20_000_000, max: nowMs + 20_000_000 });
  const past = fc.integer({ min: nowMs - 20_000_000, max: nowMs });
  const anyFacts = fc
    .record({
      startedAtMs: fc.option(past),
      claimedAtMs: fc.option(past),
      firstEventAtMs: fc.option(past),
      firstOutputAtMs: fc.option(past),
      lastProgressAtMs: fc.option(past),
      leaseExpiresAtMs: fc.option(time),
      cancelRequestedAtMs: fc.option(past),
      deadlineAtMs: fc.option(time),
      pausedSinceMs: fc.option(past),
      pausedMs: fc.nat(20_000_000),
      waitingSinceMs: fc.option(past),
      lastResolvedAtMs: fc.option(past),
      lookingSinceMs: fc.option(past),
      canPark: fc.boolean(),
      claimDeadlineMs: time,
    })
    .map(facts);

  it('names a deadline that is not in the past whenever it waits for one', () => {
    fc.assert(
      fc.property(anyFacts, (given) => {
        const verdict = judgeAttempt(given, 1);
        if (verdict.kind === 'wait' && verdict.nextDeadlineMs !== null)
          expect(verdict.nextDeadlineMs).toBeGreaterThan(nowMs);
      }),
    );
  });

  it('never ends an attempt by a clock that stands still', () => {
    fc.assert(
      fc.property(anyFacts, (given) => {
        if (given.pausedSinceMs !== null) expect(judgeAttempt(given, 1).kind).not.toBe('timeout');
      }),
    );
  });

  it('waits at least until the deadline that it named, if nothing else happens', () => {
    fc.assert(
      fc.property(anyFacts, (given) => {
        const verdict = judgeAttempt(given, 1);
        if (verdict.kind !== 'wait' || verdict.nextDeadlineMs === null) return;
        const leaseMs = given.leaseExpiresAtMs ?? Number.POSITIVE_INFINITY;
        // The expiry of a lease changes which clocks count; it is no deadline.
        const untilMs = Math.min(verdict.nextDeadlineMs - 1, leaseMs > nowMs ? leaseMs - 1 : leaseMs + 1e12);
        if (untilMs > nowMs) expect(judgeAttempt({ ...given, nowMs: untilMs }, 1).kind).toBe('wait');
      }),
    );
  });

  it('leaves a rest of the hard limit that is never negative and never more than the limit', () => {
    fc.assert(
      fc.property(anyFacts, (given) => {
        const leftMs = hardLeftMs(given);
        expect(leftMs).toBeGreaterThanOrEqual(0);
        expect(leftMs).toBeLessThanOrEqual(policy.hardTimeoutMs);
        if (
          given.pausedSinceMs !== null &&
          given.pausedSinceMs >= (given.startedAtMs ?? given.claimedAtMs ?? 0)
        )
          expect(hardLeftMs({ ...given, nowMs: nowMs + 10_000 })).toBe(leftMs);
      }),
    );
  });
});
