import { describe, expect, it } from 'vitest';
import { type RunnerJobPhase, runnerJobPhaseSchema, steerDeliverySchema } from '../../contract/states.js';
import {
  phaseAfterEnd,
  phaseAfterOutcome,
  phaseAtFinish,
  runnerJobSummary,
} from '../../domain/runner-job-status.js';
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

describe('the phase of a runner job', () => {
  const finish = { terminalStatus: 'failed', failureKind: null, runnerDeleted: false } as const;
  it.each<[string, RunnerJobPhase, RunnerJobPhase]>([
    ['its runner said completed', phaseAfterOutcome('completed'), 'succeeded'],
    ['its runner said cancelled', phaseAfterOutcome('cancelled'), 'failed'],
    ['its runner said blocked', phaseAfterOutcome('blocked'), 'failed'],
    ['given up, runner lost', phaseAfterEnd('runner-lost', false), 'lost'],
    ['given up, nobody claimed', phaseAfterEnd('runner-never-claimed', false), 'lost'],
    ['given up, node lost', phaseAfterEnd('node-lost', false), 'lost'],
    ['given up otherwise', phaseAfterEnd('idle-timeout', false), 'failed'],
    ['given up without a kind', phaseAfterEnd(null, false), 'failed'],
    ['parked', phaseAfterEnd(null, true), 'deleted'],
    ['the run completed', phaseAtFinish({ ...finish, terminalStatus: 'completed' }), 'succeeded'],
    ['the run ended with its runner lost', phaseAtFinish({ ...finish, failureKind: 'runner-lost' }), 'lost'],
    ['the run failed', phaseAtFinish({ ...finish, failureKind: 'hard-timeout' }), 'failed'],
    [
      'a cancel ended the runner',
      phaseAtFinish({ terminalStatus: 'cancelled', failureKind: 'cancelled', runnerDeleted: true }),
      'deleted',
    ],
    ['the run was cancelled', phaseAtFinish({ ...finish, terminalStatus: 'cancelled' }), 'failed'],
  ])('%s', (_row, phase, expected) => {
    expect(phase).toBe(expected);
  });

  it.each(runnerJobPhaseSchema.options)('%s has a line of its own', (phase) => {
    const job = { phase, outcome: null, failureKind: null };
    expect(runnerJobSummary(job)).not.toBe('');
  });

  it('says why a job failed or was lost', () => {
    expect(runnerJobSummary({ phase: 'failed', outcome: 'blocked', failureKind: null })).toMatch(/blocked/);
    expect(runnerJobSummary({ phase: 'lost', outcome: null, failureKind: 'node-lost' })).toMatch(/node-lost/);
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
