import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type LeaseState, leaseOf } from '../../domain/lease-view.js';
import type { RunFacts } from '../../domain/run-facts.js';
import { ago, anyFacts, ended, nowMs, running, unclaimed } from './support/run-facts.js';

describe('leaseOf', () => {
  it.each<[string, RunFacts, LeaseState, number | null]>([
    ['1 the run has ended', ended('completed', {}, { leaseExpiresAtMs: null }), 'ended', null],
    ['1 an outcome is stored', running({}, { outcome: 'failed', leaseExpiresAtMs: ago(5) }), 'ended', null],
    ['1 the attempt was given up', running({}, { endedAtMs: ago(1) }), 'ended', null],
    ['2 no attempt', running({ attempt: null }), 'unclaimed', null],
    ['2 nobody claimed it', running({}, unclaimed), 'unclaimed', null],
    ['3 no lease', running({}, { leaseExpiresAtMs: null }), 'expired', null],
    ['3 it ends now', running({}, { leaseExpiresAtMs: nowMs }), 'expired', 0],
    ['3 it ended', running({}, { leaseExpiresAtMs: ago(9) }), 'expired', 0],
    ['4 live', running({}, { leaseExpiresAtMs: nowMs + 1 }), 'live', 1],
  ])('%s', (_row, facts, state, remainingMs) => {
    expect(leaseOf(facts, nowMs)).toEqual({ state, remainingMs });
  });

  it('never has less than nothing left', () => {
    fc.assert(
      fc.property(anyFacts, (facts) => {
        expect(leaseOf(facts, nowMs).remainingMs ?? 0).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});
