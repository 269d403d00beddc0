import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Outcome } from '../../contract/commands.js';
import { type RunFailureKind, runFailureKinds } from '../../contract/failure-kinds.js';
import {
  type AttemptDecision,
  type AttemptEnd,
  decideAfterAttempt,
  farthestResetMs,
  longestBackOffMs,
  longestProviderParkMs,
  mostProviderParks,
  type RetryFacts,
  retryRules,
} from '../../domain/retry-decision.js';

const nowMs = 1_000_000_000;
const minuteMs = 60_000;
const facts = (over: Partial<RetryFacts> = {}): RetryFacts => ({
  nowMs,
  maxAttempts: 3,
  retryBackoffMs: 5_000,
  providerParkMs: minuteMs,
  cancelRequested: false,
  canResume: true,
  hardLeftMs: 7_200_000,
  deadlineLeftMs: null,
  providerParkedMs: 0,
  providerParks: 0,
  former: [],
  ...over,
});
const formerly = (...kinds: RunFailureKind[]) => ({
  former: kinds.map((failureKind) => ({ failureKind, begun: true })),
});
const outcome = (over: Partial<Outcome>): AttemptEnd => ({
  kind: 'outcome',
  outcome: { terminalStatus: 'failed', ...over },
});
const failed = (failureKind: RunFailureKind, resetInMs?: number): AttemptEnd =>
  outcome({
    failureKind,
    ...(resetInMs === undefined
      ? {}
      : {
          provider: {
            evidence: 'both',
            status: 429,
            errorCode: null,
            agentErrorInfo: null,
            resetAt: new Date(nowMs + resetInMs).toISOString(),
          },
        }),
  });
const gone: AttemptEnd = { kind: 'runner-gone', begun: true, cause: null };
const oom: AttemptEnd = { kind: 'runner-gone', begun: true, cause: 'oom-killed' };

/** A decision in few words. */
function words(decision: AttemptDecision): string {
  switch (decision.kind) {
    case 'leave':
      return 'leave';
    case 'retry': {
      const compact = decision.compactNext ? ' compact' : '';
      return `retry ${decision.failureKind} ${decision.delayMs}+${decision.jitterMs}${compact}`;
    }
    case 'park': {
      const until = decision.untilMs === null ? '' : ` until +${decision.untilMs - nowMs}`;
      const delay = decision.delayMs === null ? '' : ` for ${decision.delayMs}`;
      return `park ${decision.parkReason}${until}${delay}`;
    }
    case 'finish':
      return `${decision.terminalStatus} ${decision.failureKind}${decision.stopRunner ? ' stop' : ''}`;
  }
}

describe('decideAfterAttempt', () => {
  it.each<[string, AttemptEnd, Partial<RetryFacts>, string]>([
    ['1 superseded', { kind: 'superseded' }, { cancelRequested: true }, 'leave'],
    ['2 completed', outcome({ terminalStatus: 'completed' }), {}, 'completed null'],
    [
      '2 completed, though a cancel was asked',
      outcome({ terminalStatus: 'completed' }),
      { cancelRequested: true },
      'completed null',
    ],
    ['3 cancel beats a failure', failed('agent-error'), { cancelRequested: true }, 'cancelled cancelled'],
    ['3 cancel beats a lost runner', gone, { cancelRequested: true }, 'cancelled cancelled stop'],
    [
      '3 cancel beats blocked',
      outcome({ terminalStatus: 'blocked' }),
      { cancelRequested: true },
      'cancelled cancelled',
    ],
    [
      '3 cancel beats a park',
      { kind: 'park-waiting' },
      { cancelRequested: true },
      'cancelled cancelled stop',
    ],
    [
      '3 cancel beats a limit',
      { kind: 'deadline-exceeded' },
      { cancelRequested: true },
      'cancelled cancelled stop',
    ],
    ['3 cancel not answered', { kind: 'cancel-overdue', claimed: true }, {}, 'cancelled cancelled stop'],
    [
      '13 an idle runner that was dead already',
      { kind: 'runner-gone', begun: false, cause: null },
      { maxAttempts: 1, isFree: true },
      'retry runner-lost 0+250',
    ],
    [
      '12 the same a second time',
      { kind: 'runner-gone', begun: false, cause: null },
      { maxAttempts: 1, isFree: false },
      'failed runner-lost stop',
    ],
    ['6 an agent that cannot resume', failed('agent-error'), { canResume: false }, 'failed agent-error'],
    ['6 its runner lost', gone, { canResume: false }, 'failed runner-lost stop'],
    ['4 blocked', outcome({ terminalStatus: 'blocked' }), {}, 'blocked null'],
    [
      '4 cancelled by the agent itself',
      outcome({ terminalStatus: 'cancelled', failureKind: 'cancelled' }),
      {},
      'cancelled cancelled',
    ],
    ['5 park for a person', { kind: 'park-waiting' }, {}, 'park person'],
    ['5 with no attempt left', { kind: 'park-waiting' }, { maxAttempts: 1 }, 'park person'],
    ['6 never: wrong key', failed('provider-auth'), {}, 'failed provider-auth'],
    [
      '6 never: hard limit',
      { kind: 'timeout', timeoutKind: 'hard', limitMs: 1 },
      {},
      'failed hard-timeout stop',
    ],
    ['6 never: deadline', { kind: 'deadline-exceeded' }, {}, 'failed deadline-exceeded stop'],
    ['7 hard limit used up', gone, { hardLeftMs: 0 }, 'failed runner-lost stop'],
    [
      '7 before a park',
      failed('provider-rate-limited', 1),
      { hardLeftMs: 0 },
      'failed provider-rate-limited',
    ],
    [
      '8 rate limit with reset time',
      failed('provider-rate-limited', minuteMs),
      { providerParkedMs: longestProviderParkMs },
      `park provider-limit until +${minuteMs}`,
    ],
    [
      '8 quota with reset time',
      failed('provider-quota', farthestResetMs),
      {},
      `park provider-limit until +${farthestResetMs}`,
    ],
    ['8 no attempt is used', failed('provider-quota', 1), { maxAttempts: 1 }, 'park provider-limit until +1'],
    ['10 reset beyond a day', failed('provider-quota', farthestResetMs + 1), {}, 'failed provider-quota'],
    [
      '10 reset beyond a day, rate limit',
      failed('provider-rate-limited', farthestResetMs + 1),
      {},
      'failed provider-rate-limited',
    ],
    [
      '10 reset after the deadline',
      failed('provider-quota', 5_000),
      { deadlineLeftMs: 5_000 },
      'failed provider-quota',
    ],
    [
      '10 too many parks',
      failed('provider-quota', 5_000),
      { providerParks: mostProviderParks },
      'failed provider-quota',
    ],
    ['9 rate limit', failed('provider-rate-limited'), {}, 'park provider-limit for 60000'],
    ['9 doubles', failed('provider-rate-limited'), { providerParks: 2 }, 'park provider-limit for 240000'],
    [
      '9 a reset time that is over is none',
      failed('provider-rate-limited', -1),
      {},
      'park provider-limit for 60000',
    ],
    [
      '9 up to two hours in all',
      failed('provider-rate-limited'),
      { providerParks: 7, providerParkedMs: longestProviderParkMs - 5 },
      'park provider-limit for 5',
    ],
    [
      '10 two hours are over',
      failed('provider-rate-limited'),
      { providerParkedMs: longestProviderParkMs },
      'failed provider-rate-limited',
    ],
    [
      '10 deadline before the end of the wait',
      failed('provider-rate-limited'),
      { deadlineLeftMs: minuteMs },
      'failed provider-rate-limited',
    ],
    ['10 quota without reset time', failed('provider-quota'), {}, 'failed provider-quota'],
    ['11 poison', gone, formerly('runner-lost', 'runner-lost'), 'blocked poison-turn stop'],
    ['11 poison by memory, twice', oom, formerly('runner-oom-killed'), 'blocked poison-turn stop'],
    [
      '11 poison, mixed',
      { kind: 'lease-lost', begun: true },
      formerly('runner-oom-killed', 'runner-unhealthy'),
      'blocked poison-turn stop',
    ],
    ['12 one kill is no proof', gone, { maxAttempts: 1 }, 'failed runner-lost stop'],
    [
      '12 not every attempt killed its runner',
      gone,
      formerly('agent-error', 'runner-lost'),
      'failed runner-lost stop',
    ],
    [
      '12 eviction is not the turn’s doing',
      { kind: 'runner-gone', begun: true, cause: 'evicted' },
      formerly('runner-lost', 'runner-lost'),
      'failed runner-evicted stop',
    ],
    [
      '12 an attempt that had not begun killed nothing',
      { kind: 'runner-gone', begun: false },
      formerly('runner-lost', 'runner-lost'),
      'failed runner-lost stop',
    ],
    ['12 once, the second time', failed('agent-error'), formerly('agent-error'), 'failed agent-error'],
    [
      '12 idle, the second time',
      { kind: 'timeout', timeoutKind: 'idle', limitMs: 1 },
      formerly('idle-timeout'),
      'failed idle-timeout stop',
    ],
    [
      '12 attempts used up',
      failed('provider-overloaded'),
      formerly('provider-overloaded', 'provider-overloaded'),
      'failed provider-overloaded',
    ],
    [
      '3 a runner that said that it cannot begin',
      { kind: 'runner-gone', begun: false, cause: 'prerequisite-failed', message: 'wrong URL' },
      {},
      'failed prerequisite-failed stop',
    ],
    ['13 lost runner', gone, {}, 'retry runner-lost 0+250'],
    ['13 killed by memory', oom, {}, 'retry runner-oom-killed 0+250'],
    [
      '6 its time in the cluster was up',
      { kind: 'runner-gone', begun: true, cause: 'deadline-exceeded', message: 'too long' },
      {},
      'failed deadline-exceeded stop',
    ],
    [
      '6 no image',
      { kind: 'runner-gone', begun: false, cause: 'image-pull-failed' },
      {},
      'failed image-pull-failed stop',
    ],
    [
      '6 a pod that is refused',
      { kind: 'runner-gone', begun: false, cause: 'invalid-pod' },
      {},
      'failed invalid-pod stop',
    ],
    [
      '15 no room',
      { kind: 'runner-gone', begun: false, cause: 'unschedulable' },
      {},
      'retry unschedulable 5000+1250',
    ],
    [
      '15 no volume',
      { kind: 'runner-gone', begun: false, cause: 'storage-unavailable' },
      {},
      'retry storage-unavailable 5000+1250',
    ],
    ['13 lost node', { kind: 'runner-gone', begun: true, cause: 'node-lost' }, {}, 'retry node-lost 0+250'],
    ['13 after another failure', gone, formerly('agent-error'), 'retry runner-lost 0+250'],
    ['13 with little time left', gone, { hardLeftMs: 1, deadlineLeftMs: 1 }, 'retry runner-lost 0+250'],
    ['15 the second lost runner waits', gone, formerly('runner-lost'), 'retry runner-lost 5000+1250'],
    [
      '14 back-off longer than the hard limit',
      failed('agent-error'),
      { hardLeftMs: 5_000 },
      'failed agent-error',
    ],
    [
      '14 back-off longer than the deadline',
      failed('agent-error'),
      { deadlineLeftMs: 5_000 },
      'failed agent-error',
    ],
    ['15 no kind: agent-error', outcome({}), {}, 'retry agent-error 5000+1250'],
    [
      '15 doubles',
      failed('provider-overloaded'),
      { ...formerly('agent-error', 'provider-disconnected'), maxAttempts: 9 },
      'retry provider-overloaded 20000+5000',
    ],
    [
      '15 up to a minute',
      failed('provider-overloaded'),
      {
        former: Array.from({ length: 15 }, () => ({ failureKind: 'infra-failed', begun: true })),
        maxAttempts: 20,
      },
      'retry provider-overloaded 60000+15000',
    ],
    [
      '15 context window',
      failed('context-window-exceeded'),
      {},
      'retry context-window-exceeded 5000+1250 compact',
    ],
    ['15 never claimed', { kind: 'never-claimed' }, {}, 'retry runner-never-claimed 5000+1250'],
    [
      '15 silent from the start',
      { kind: 'timeout', timeoutKind: 'first-output', limitMs: 1 },
      {},
      'retry first-output-timeout 5000+1250',
    ],
    [
      '15 a launch that gave up',
      { kind: 'launch-failed', failureKind: 'storage-unavailable', message: 'no space' },
      {},
      'retry storage-unavailable 5000+1250',
    ],
    [
      '6 a launch that was refused',
      { kind: 'launch-failed', failureKind: 'prerequisite-failed', message: 'no such folder' },
      {},
      'failed prerequisite-failed stop',
    ],
  ])('%s', (_row, end, over, expected) => {
    expect(words(decideAfterAttempt(end, facts(over)))).toBe(expected);
  });

  // decisions.md, "Failure kinds of a run" and "Provider errors": the column "retry".
  it.each<[RunFailureKind, string]>([
    ['runner-never-claimed', 'attempts'],
    ['runner-lost', 'attempts'],
    ['runner-oom-killed', 'once'],
    ['runner-evicted', 'attempts'],
    ['runner-unhealthy', 'attempts'],
    ['node-lost', 'attempts'],
    ['image-pull-failed', 'never'],
    ['invalid-pod', 'never'],
    ['prerequisite-failed', 'never'],
    ['unschedulable', 'attempts'],
    ['agent-error', 'once'],
    ['first-output-timeout', 'once'],
    ['idle-timeout', 'once'],
    ['hard-timeout', 'never'],
    ['deadline-exceeded', 'never'],
    ['budget-exceeded', 'never'],
    ['storage-unavailable', 'attempts'],
    ['session-store-evicted', 'never'],
    ['poison-turn', 'never'],
    ['cancelled', 'never'],
    ['infra-failed', 'attempts'],
    ['provider-auth', 'never'],
    ['provider-rate-limited', 'park'],
    ['provider-quota', 'park-until-reset'],
    ['provider-rejected', 'never'],
    ['model-not-found', 'never'],
    ['provider-unavailable', 'once'],
    ['provider-overloaded', 'attempts'],
    ['context-window-exceeded', 'once'],
    ['provider-disconnected', 'attempts'],
  ])('%s is tried again: %s', (kind, rule) => {
    expect(retryRules[kind]).toBe(rule);
  });

  const anyKind = fc.constantFrom(...runFailureKinds);
  const anyEnd: fc.Arbitrary<AttemptEnd> = fc.oneof(
    fc.constantFrom<AttemptEnd>(
      { kind: 'superseded' },
      { kind: 'never-claimed' },
      { kind: 'deadline-exceeded' },
      { kind: 'park-waiting' },
      { kind: 'cancel-overdue', claimed: true },
      { kind: 'lease-lost', begun: true },
      { kind: 'timeout', timeoutKind: 'idle', limitMs: 1 },
    ),
    fc.record({
      kind: fc.constant('runner-gone' as const),
      begun: fc.boolean(),
      cause: fc.constantFrom(
        'oom-killed',
        'evicted',
        'unhealthy',
        'node-lost',
        'deadline-exceeded',
        'image-pull-failed',
        'invalid-pod',
        'unschedulable',
        'storage-unavailable',
        null,
      ),
    }),
    fc
      .tuple(anyKind, fc.option(fc.integer({ min: -1_000, max: 2 * farthestResetMs })))
      .map(([kind, reset]) => failed(kind, reset ?? undefined)),
    fc.constantFrom(outcome({ terminalStatus: 'completed' }), outcome({ terminalStatus: 'blocked' })),
  );
  const anyFacts: fc.Arbitrary<RetryFacts> = fc.record({
    nowMs: fc.constant(nowMs),
    maxAttempts: fc.integer({ min: 1, max: 20 }),
    retryBackoffMs: fc.integer({ min: 1, max: 60_000 }),
    providerParkMs: fc.integer({ min: 1, max: 3_600_000 }),
    cancelRequested: fc.boolean(),
    canResume: fc.boolean(),
    hardLeftMs: fc.nat(7_200_000),
    deadlineLeftMs: fc.option(fc.nat(7_200_000)),
    providerParkedMs: fc.nat(longestProviderParkMs),
    providerParks: fc.nat(mostProviderParks + 5),
    former: fc.array(fc.record({ failureKind: fc.option(anyKind), begun: fc.boolean() }), { maxLength: 20 }),
  });

  it('never goes on after a cancel, and never ends a completed turn otherwise', () => {
    fc.assert(
      fc.property(anyEnd, anyFacts, (end, given) => {
        const decision = decideAfterAttempt(end, given);
        const isCompleted = end.kind === 'outcome' && end.outcome.terminalStatus === 'completed';
        if (isCompleted) expect(words(decision)).toBe('completed null');
        else if (given.cancelRequested && end.kind !== 'superseded')
          expect(words(decision)).toMatch(/^cancelled cancelled/);
      }),
    );
  });

  it('stays within its budgets: attempts, delays, parks, what is left of the limits', () => {
    fc.assert(
      fc.property(anyEnd, anyFacts, (end, given) => {
        const decision = decideAfterAttempt(end, given);
        const deadlineLeftMs = given.deadlineLeftMs ?? Number.POSITIVE_INFINITY;
        if (decision.kind === 'retry') {
          expect(given.former.length + 1).toBeLessThan(given.maxAttempts);
          expect(decision.delayMs).toBeLessThanOrEqual(longestBackOffMs);
          expect(given.hardLeftMs).toBeGreaterThan(0);
          if (decision.delayMs > 0)
            expect(decision.delayMs).toBeLessThan(Math.min(given.hardLeftMs, deadlineLeftMs));
        }
        if (decision.kind === 'park' && decision.parkReason === 'provider-limit') {
          const waitMs = decision.delayMs ?? (decision.untilMs ?? 0) - nowMs;
          expect(waitMs).toBeGreaterThan(0);
          expect(waitMs).toBeLessThanOrEqual(farthestResetMs);
          expect(waitMs).toBeLessThan(deadlineLeftMs);
          if (decision.delayMs !== null)
            expect(given.providerParkedMs + decision.delayMs).toBeLessThanOrEqual(longestProviderParkMs);
        }
      }),
    );
  });

  it('ends every run that goes on failing: no kind is tried without end', () => {
    fc.assert(
      fc.property(anyEnd, fc.integer({ min: 1, max: 20 }), (end, maxAttempts) => {
        let given = facts({ maxAttempts, hardLeftMs: Number.MAX_SAFE_INTEGER });
        for (let round = 0; round < mostProviderParks + 40; round += 1) {
          const decision = decideAfterAttempt(end, given);
          // Each park for a person needs a person.
          if (decision.kind === 'finish' || decision.kind === 'leave' || end.kind === 'park-waiting') return;
          given =
            decision.kind === 'retry'
              ? { ...given, former: [...given.former, { failureKind: decision.failureKind, begun: true }] }
              : {
                  ...given,
                  providerParks: given.providerParks + 1,
                  providerParkedMs:
                    given.providerParkedMs + (decision.kind === 'park' ? (decision.delayMs ?? 0) : 0),
                };
        }
        expect.unreachable('it was tried without end');
      }),
    );
  });
});
