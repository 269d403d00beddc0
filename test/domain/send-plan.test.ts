import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { WhenBusy } from '../../contract/sessions.js';
import { decideSend, type SendFacts } from '../../domain/send-plan.js';

const run = (over: Partial<NonNullable<SendFacts['activeRun']>> = {}) => ({
  runId: 'run_1',
  isOpen: true,
  isTerminal: false,
  cancelRequested: false,
  ...over,
});
const facts = (over: Partial<SendFacts> = {}): SendFacts => ({
  session: 'present',
  activeRun: null,
  queuedTurns: 0,
  ...over,
});

describe('decideSend', () => {
  it.each<[string, SendFacts, WhenBusy, string]>([
    ['1 evicted', facts({ session: 'evicted', activeRun: run() }), 'steer', 'refuse session-store-evicted'],
    ['1a archived', facts({ session: 'archived', activeRun: run() }), 'queue', 'refuse conflict'],
    ['1b being deleted', facts({ session: 'deleted', activeRun: run() }), 'steer', 'refuse not-found'],
    ['2 unknown session', facts({ session: 'unknown' }), 'steer', 'turn no-session'],
    ['3 no active run', facts(), 'steer', 'turn no-active-turn'],
    [
      '3 active run is terminal',
      facts({ activeRun: run({ isTerminal: true, isOpen: false }) }),
      'steer',
      'turn no-active-turn',
    ],
    ['3 idle and reject', facts(), 'reject', 'turn no-active-turn'],
    ['3 idle and queue', facts(), 'queue', 'turn no-active-turn'],
    ['4 busy and reject', facts({ activeRun: run() }), 'reject', 'refuse session-busy'],
    ['5 busy and queue', facts({ activeRun: run() }), 'queue', 'turn asked-to-queue queued'],
    ['6 busy and interrupt', facts({ activeRun: run() }), 'interrupt', 'turn interrupts queued interrupt'],
    [
      '6 closed to steers and interrupt',
      facts({ activeRun: run({ isOpen: false }) }),
      'interrupt',
      'turn interrupts queued interrupt',
    ],
    ['7 open', facts({ activeRun: run() }), 'steer', 'steer run_1'],
    ['7 open, with turns queued behind', facts({ activeRun: run(), queuedTurns: 2 }), 'steer', 'steer run_1'],
    ['8 outcome stored', facts({ activeRun: run({ isOpen: false }) }), 'steer', 'turn turn-ended queued'],
    [
      '8 cancel asked',
      facts({ activeRun: run({ cancelRequested: true }) }),
      'steer',
      'turn turn-ended queued',
    ],
    [
      '8 cancel asked and interrupt',
      facts({ activeRun: run({ cancelRequested: true }) }),
      'interrupt',
      'turn turn-ended queued',
    ],
    ['9 others wait', facts({ queuedTurns: 1 }), 'steer', 'turn queued-behind queued'],
    ['9 others wait and interrupt', facts({ queuedTurns: 1 }), 'interrupt', 'turn queued-behind queued'],
  ])('%s', (_row, given, whenBusy, expected) => {
    const verdict = decideSend(given, whenBusy);
    const words =
      verdict.kind === 'steer'
        ? ['steer', verdict.runId]
        : verdict.kind === 'refuse'
          ? ['refuse', verdict.failureKind]
          : [
              'turn',
              verdict.reason,
              ...(verdict.queued ? ['queued'] : []),
              ...(verdict.interrupt ? ['interrupt'] : []),
            ];
    expect(words.join(' ')).toBe(expected);
  });

  const anyFacts: fc.Arbitrary<SendFacts> = fc.record({
    session: fc.constantFrom('unknown', 'present', 'archived', 'evicted', 'deleted'),
    activeRun: fc.option(
      fc.record({
        runId: fc.constant('run_1'),
        isOpen: fc.boolean(),
        isTerminal: fc.boolean(),
        cancelRequested: fc.boolean(),
      }),
    ),
    queuedTurns: fc.nat(3),
  });
  const anyWhenBusy = fc.constantFrom<WhenBusy>('steer', 'queue', 'interrupt', 'reject');

  it('never begins a second turn beside a live one, and steers only what is open', () => {
    fc.assert(
      fc.property(anyFacts, anyWhenBusy, (given, whenBusy) => {
        const verdict = decideSend(given, whenBusy);
        const live = given.activeRun !== null && !given.activeRun.isTerminal;
        if (verdict.kind === 'turn' && live) expect(verdict.queued).toBe(true);
        if (verdict.kind === 'steer') {
          expect(given.activeRun).toMatchObject({ isOpen: true, isTerminal: false, cancelRequested: false });
        }
        if (verdict.kind === 'turn' && verdict.interrupt) expect(live).toBe(true);
      }),
    );
  });
});
