import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { executionPolicySchema } from '../../contract/execution-policy.js';
import {
  cancelGraceMs,
  decideAfterAttempt,
  judgeAttempt,
  lastWordMs,
  type SupervisionFacts,
  type SupervisionVerdict,
} from '../../domain/supervision.js';

const policy = executionPolicySchema.parse({});
const nowMs = 10_000_000;
const facts = (over: Partial<SupervisionFacts> = {}): SupervisionFacts => ({
  nowMs,
  runStatus: 'running',
  currentEpoch: 1,
  policy,
  cancelRequestedAtMs: null,
  createdAtMs: nowMs - 60_000,
  startedAtMs: nowMs - 50_000,
  claimDeadlineMs: nowMs - 40_000,
  claimedAtMs: nowMs - 55_000,
  firstEventAtMs: nowMs - 40_000,
  lastProgressAtMs: nowMs - 1_000,
  outcome: null,
  jobName: 'agentrun-x-1',
  leaseExpiresAtMs: nowMs + 30_000,
  lastSeq: 5,
  lastEventType: 'agent_message',
  process: { state: 'alive' },
  ...over,
});
const unclaimed = {
  claimedAtMs: null,
  startedAtMs: null,
  firstEventAtMs: null,
  lastProgressAtMs: null,
  leaseExpiresAtMs: null,
};
const words = (verdict: SupervisionVerdict) =>
  verdict.kind === 'wait'
    ? `wait ${verdict.phase}`
    : verdict.kind === 'timeout'
      ? `timeout ${verdict.timeoutKind}`
      : 'begun' in verdict
        ? `${verdict.kind} ${verdict.begun ? 'begun' : 'not begun'}`
        : verdict.kind;

describe('judgeAttempt', () => {
  it.each<[string, Partial<SupervisionFacts>, string]>([
    ['1 terminal run', { runStatus: 'completed', outcome: { terminalStatus: 'completed' } }, 'superseded'],
    ['1 other epoch', { currentEpoch: 2 }, 'superseded'],
    [
      '2 outcome before a dead process',
      { outcome: { terminalStatus: 'completed' }, process: { state: 'gone', sinceMs: 0 } },
      'outcome',
    ],
    ['3 process gone', { process: { state: 'gone', sinceMs: nowMs - lastWordMs } }, 'runner-gone begun'],
    [
      '3 process gone before it began',
      { ...unclaimed, claimDeadlineMs: nowMs + 1, process: { state: 'gone', sinceMs: nowMs - lastWordMs } },
      'runner-gone not begun',
    ],
    ['10 process just gone', { process: { state: 'gone', sinceMs: nowMs - lastWordMs + 1 } }, 'wait running'],
    ['4 cancel not answered', { cancelRequestedAtMs: nowMs - cancelGraceMs }, 'cancel-overdue'],
    ['10 cancel asked', { cancelRequestedAtMs: nowMs - 1 }, 'wait cancelling'],
    ['5 not claimed in time', { ...unclaimed, claimDeadlineMs: nowMs }, 'never-claimed'],
    ['10 not claimed yet', { ...unclaimed, claimDeadlineMs: nowMs + 1 }, 'wait starting'],
    ['6 hard limit', { startedAtMs: nowMs - policy.hardTimeoutMs }, 'timeout hard'],
    [
      '6 hard before lease',
      { startedAtMs: nowMs - policy.hardTimeoutMs, leaseExpiresAtMs: 0 },
      'timeout hard',
    ],
    ['7 lease lost', { leaseExpiresAtMs: nowMs - policy.partitionGraceMs }, 'lease-lost begun'],
    [
      '10 lease expired, within the grace',
      { leaseExpiresAtMs: nowMs - policy.partitionGraceMs + 1 },
      'wait lease-expired',
    ],
    [
      '8 no first output',
      { firstEventAtMs: null, lastProgressAtMs: null, claimedAtMs: nowMs - policy.firstOutputTimeoutMs },
      'timeout first-output',
    ],
    ['10 claimed', { firstEventAtMs: null, lastProgressAtMs: null }, 'wait claimed'],
    [
      '9 idle',
      {
        lastProgressAtMs: nowMs - policy.idleTimeoutMs,
        firstEventAtMs: 0,
        claimedAtMs: 0,
        startedAtMs: nowMs - 1,
      },
      'timeout idle',
    ],
    [
      '10 idle switched off',
      {
        policy: { ...policy, idleTimeoutMs: 0 },
        lastProgressAtMs: 0,
        claimedAtMs: 0,
        startedAtMs: nowMs - 1,
      },
      'wait running',
    ],
    [
      '10 silent while the lease is expired: nobody can hear it',
      {
        leaseExpiresAtMs: nowMs - 1,
        lastProgressAtMs: 0,
        firstEventAtMs: null,
        claimedAtMs: nowMs - policy.firstOutputTimeoutMs,
      },
      'wait lease-expired',
    ],
    [
      '10 idle while the lease is expired',
      {
        leaseExpiresAtMs: nowMs - 1,
        lastProgressAtMs: 0,
        firstEventAtMs: 0,
        claimedAtMs: 0,
        startedAtMs: nowMs - 1,
      },
      'wait lease-expired',
    ],
    ['10 runs', {}, 'wait running'],
    ['10 nobody sees the process', { process: { state: 'unknown' } }, 'wait running'],
  ])('%s', (_row, over, expected) => {
    expect(words(judgeAttempt(facts(over), 1))).toBe(expected);
  });

  it('names a deadline that is not in the past whenever it waits for one', () => {
    const time = fc.integer({ min: nowMs - 20_000_000, max: nowMs + 20_000_000 });
    fc.assert(
      fc.property(
        fc.record({
          claimedAtMs: fc.option(time),
          firstEventAtMs: fc.option(time),
          lastProgressAtMs: fc.option(time),
          leaseExpiresAtMs: fc.option(time),
          cancelRequestedAtMs: fc.option(time),
          claimDeadlineMs: time,
        }),
        (over) => {
          const verdict = judgeAttempt(facts(over), 1);
          if (verdict.kind === 'wait' && verdict.nextDeadlineMs !== null) {
            expect(verdict.nextDeadlineMs).toBeGreaterThan(nowMs);
          }
        },
      ),
    );
  });
});

describe('decideAfterAttempt', () => {
  const attempt = { epoch: 1, maxAttempts: 3, cancelRequested: false };
  it.each<[Exclude<SupervisionVerdict, { kind: 'wait' }>, Partial<typeof attempt>, string]>([
    [{ kind: 'superseded' }, {}, 'leave'],
    [{ kind: 'outcome', outcome: { terminalStatus: 'completed' } }, {}, 'completed null'],
    [
      { kind: 'outcome', outcome: { terminalStatus: 'failed', failureKind: 'agent-error' } },
      {},
      'failed agent-error',
    ],
    [{ kind: 'runner-gone', begun: false }, {}, 'retry'],
    [{ kind: 'runner-gone', begun: false }, { epoch: 3 }, 'failed runner-lost stop'],
    [{ kind: 'runner-gone', begun: true }, {}, 'failed runner-lost stop'],
    [{ kind: 'runner-gone', begun: true }, { cancelRequested: true }, 'cancelled cancelled stop'],
    [{ kind: 'lease-lost', begun: true }, {}, 'failed runner-lost stop'],
    [{ kind: 'never-claimed' }, {}, 'retry'],
    [{ kind: 'never-claimed' }, { epoch: 3 }, 'failed runner-never-claimed stop'],
    [{ kind: 'never-claimed' }, { cancelRequested: true }, 'cancelled cancelled stop'],
    [{ kind: 'timeout', timeoutKind: 'idle', limitMs: 1 }, {}, 'failed idle-timeout stop'],
    [{ kind: 'timeout', timeoutKind: 'hard', limitMs: 1 }, {}, 'failed hard-timeout stop'],
    [{ kind: 'timeout', timeoutKind: 'first-output', limitMs: 1 }, {}, 'failed first-output-timeout stop'],
    [{ kind: 'cancel-overdue' }, {}, 'cancelled cancelled stop'],
  ])('%j %j is %s', (verdict, over, expected) => {
    const decision = decideAfterAttempt(verdict, { ...attempt, ...over });
    const shown =
      decision.kind === 'finish'
        ? `${decision.terminalStatus} ${decision.failureKind}${decision.stopRunner ? ' stop' : ''}`
        : decision.kind;
    expect(shown).toBe(expected);
  });
});
