import { describe, expect, it } from 'vitest';
import { runnerJobPhaseSchema, steerDeliverySchema } from '../../contract/states.js';
import { type RunnerJobFacts, runnerJobStatus } from '../../domain/runner-job-status.js';
import { attentionOf, executionStateOf } from '../../domain/session-state.js';
import { type SteerFacts, steerDelivery, steerDeliveryView } from '../../domain/steer-delivery.js';
import { ago } from './support/run-facts.js';

describe('steerDelivery', () => {
  const steer: SteerFacts = {
    commandId: 'cmd_2',
    state: 'pending',
    recorded: 'pending',
    createdAtMs: ago(9),
    acknowledgedAtMs: null,
    deliveredAtMs: null,
    finishedAtMs: null,
    nextCommandId: null,
  };
  const acknowledged = { state: 'acknowledged', recorded: 'acknowledged', acknowledgedAtMs: ago(5) } as const;
  const rows: readonly [string, Partial<SteerFacts>, string, number | null][] = [
    [
      '1 seen in the thread, whatever came later',
      { recorded: 'rejected', deliveredAtMs: ago(3) },
      'delivered',
      3,
    ],
    ['2 refused', { state: 'failed', recorded: 'rejected', finishedAtMs: ago(2) }, 'rejected', 2],
    [
      '3 the turn ended first',
      { state: 'cancelled', recorded: 'next-turn', finishedAtMs: ago(1) },
      'next-turn',
      1,
    ],
    ['4 taken', acknowledged, 'acknowledged', 5],
    ['5 ended otherwise', { state: 'cancelled', finishedAtMs: ago(4) }, 'rejected', 4],
    ['6 waits', {}, 'pending', 9],
  ];
  it.each(rows)('%s', (_row, over, delivery, since) => {
    const facts = { ...steer, ...over };
    expect(steerDelivery(facts)).toBe(delivery);
    expect(steerDeliveryView(facts).since).toBe(since === null ? null : new Date(ago(since)).toISOString());
  });

  it('has a case for every word', () => {
    expect([...new Set(rows.map(([, , delivery]) => delivery))].toSorted()).toEqual(
      [...steerDeliverySchema.options].toSorted(),
    );
  });
});

describe('runnerJobStatus', () => {
  const job: RunnerJobFacts = {
    phase: 'starting',
    claimed: false,
    outcome: null,
    endFailureKind: null,
    ended: false,
    runner: 'launching',
  };
  const claimed = { phase: 'running', claimed: true, runner: 'serving' } as const;
  const rows: readonly [string, Partial<RunnerJobFacts>, string][] = [
    ['1 deleted', { phase: 'deleted', outcome: 'completed' }, 'deleted'],
    ['2 completed', { ...claimed, outcome: 'completed', runner: 'gone' }, 'succeeded'],
    ['3 another outcome', { ...claimed, outcome: 'cancelled' }, 'failed'],
    ['4 given up, runner lost', { ...claimed, ended: true, endFailureKind: 'runner-lost' }, 'lost'],
    ['4 given up, node lost', { ...claimed, ended: true, endFailureKind: 'node-lost' }, 'lost'],
    ['5 given up otherwise', { ...claimed, ended: true, endFailureKind: 'idle-timeout' }, 'failed'],
    ['6 recorded as lost', { ...claimed, phase: 'lost' }, 'lost'],
    ['6 recorded as failed', { ...claimed, phase: 'failed', runner: 'gone' }, 'failed'],
    ['7 claimed and gone', { ...claimed, runner: 'gone' }, 'lost'],
    ['8 claimed', claimed, 'running'],
    ['9 gone before the claim', { runner: 'gone' }, 'failed'],
    ['10 creating', { phase: 'creating' }, 'creating'],
    ['10 pending', { phase: 'pending' }, 'pending'],
    ['10 starting', {}, 'starting'],
  ];
  it.each(rows)('%s', (_row, over, phase) => {
    expect(runnerJobStatus({ ...job, ...over }).phase).toBe(phase);
  });

  it('has a case for every phase', () => {
    expect([...new Set(rows.map(([, , phase]) => phase))].toSorted()).toEqual(
      [...runnerJobPhaseSchema.options].toSorted(),
    );
  });
});

describe('the state of a session', () => {
  const idle = { evicted: false, activeRunStatus: null, needsInput: false, queuedTurns: 0 };
  it.each([
    ['1', { ...idle, activeRunStatus: 'running', needsInput: true }, 'waiting'],
    ['1 before it runs', { ...idle, activeRunStatus: 'claimed', needsInput: true }, 'waiting'],
    ['2', { ...idle, activeRunStatus: 'running', evicted: true }, 'running'],
    ['3', { ...idle, activeRunStatus: 'claimed' }, 'starting'],
    ['4', { ...idle, evicted: true, queuedTurns: 1 }, 'evicted'],
    ['5', { ...idle, queuedTurns: 1 }, 'starting'],
    ['6 nothing active', { ...idle, needsInput: true }, 'idle'],
  ])('%s', (_row, facts, state) => {
    expect(executionStateOf(facts)).toBe(state);
  });

  it.each([
    ['1', 'waiting', 'failed', true, 'needs-input'],
    ['2', 'running', null, true, 'active-session'],
    ['2 queued', 'starting', null, false, 'active-session'],
    ['3', 'idle', 'failed', false, 'none'],
    ['4', 'idle', 'blocked', true, 'failed'],
    ['5', 'idle', 'completed', true, 'unread'],
  ] as const)('%s for a reader', (_row, executionState, lastTerminalStatus, unread, attention) => {
    expect(attentionOf({ executionState, lastTerminalStatus, unread })).toBe(attention);
  });
});
