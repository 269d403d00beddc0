import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { livenessPhaseSchema } from '../../contract/supervisor.js';
import { livenessPhase } from '../../domain/liveness-phase.js';
import type { RunFacts } from '../../domain/run-facts.js';
import { ago, anyFacts, ended, nowMs, policy, running, unclaimed } from './support/run-facts.js';

const parked = { parked: { reason: 'person', sinceMs: ago(5), untilMs: null } } as const;
const asked = {
  pendingRequest: { requestId: 'req_1', kind: 'command', summary: 's', askedAtMs: ago(3), expiresAtMs: null },
};
const silent = { lastProgressAtMs: ago(300), claimedAtMs: ago(400), firstEventAtMs: null };

describe('livenessPhase', () => {
  const rows: readonly [string, RunFacts, string][] = [
    ['1 ended', ended('failed', { ...parked }), 'terminal'],
    ['2 parked beats given up', running(parked, { endedAtMs: ago(5) }), 'parked'],
    ['3 given up beats its outcome', running({}, { endedAtMs: ago(5), outcome: 'failed' }), 'retrying'],
    ['4 outcome stored', running(asked, { outcome: 'completed' }), 'finishing'],
    ['5 no attempt', running({ status: 'pending', attempt: null }), 'queued'],
    ['6 a later attempt, not claimed', running({}, { ...unclaimed, epoch: 2 }), 'retrying'],
    ['7 not claimed', running({ status: 'pending' }, unclaimed), 'starting'],
    ['8 lease expired beats a question', running(asked, { leaseExpiresAtMs: ago(1) }), 'lease-expired'],
    ['8 lease missing', running({}, { leaseExpiresAtMs: null }), 'lease-expired'],
    ['9 a question beats silence', running(asked, silent), 'waiting'],
    ['10 no turn acknowledged', running({ status: 'claimed' }, silent), 'claimed'],
    ['11 silent for half of the idle limit', running({}, silent), 'quiet'],
    ['12 silent for less', running({}, { ...silent, lastProgressAtMs: ago(299) }), 'running'],
    ['12 no idle limit', running({ policy: { ...policy, idleTimeoutMs: 0 } }, silent), 'running'],
  ];
  it.each(rows)('%s', (_row, facts, phase) => {
    expect(livenessPhase(facts, nowMs)).toBe(phase);
  });

  it('has a case for every phase that it can say', () => {
    const said = new Set(rows.map(([, , phase]) => phase));
    expect(livenessPhaseSchema.options.filter((phase) => !said.has(phase))).toEqual(['unavailable']);
  });

  it('is terminal exactly for what has ended, at any time', () => {
    fc.assert(
      fc.property(anyFacts, fc.nat(100_000_000), (facts, laterMs) => {
        expect(livenessPhase(facts, nowMs + laterMs) === 'terminal').toBe(facts.terminalStatus !== null);
      }),
    );
  });
});
