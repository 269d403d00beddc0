import { describe, expect, it } from 'vitest';
import { type EndedAttempt, endAttempt, lookAtPark } from '../../store/attempt-ends.js';
import { loadRetryFacts } from '../../store/retry-facts.js';
import { attemptName, loadSupervisionFacts } from '../../store/supervision-facts.js';
import { finishTurn, openTurn, requestCancel, writeAttempt } from '../../store/turn-steps.js';
import {
  askPerson,
  claimTurn,
  storeAttemptOutcome,
  storeCommand,
  storeTurn,
  turnSettings,
} from '../support/turn-rows.js';
import { usePostgres } from '../support/use-postgres.js';

const postgres = await usePostgres();
const database = await postgres.newDatabase();

const lost = (runId: string, epoch = 1): EndedAttempt => ({
  runId,
  epoch,
  failureKind: 'runner-lost',
  reason: 'the runner process ended',
  counted: true,
  compactNext: false,
  retryInMs: 120,
  park: null,
});
const parked = (runId: string, park: EndedAttempt['park']): EndedAttempt => ({
  ...lost(runId),
  failureKind: park?.reason === 'person' ? null : 'provider-rate-limited',
  counted: false,
  retryInMs: null,
  park,
});
const forPerson = { reason: 'person', untilMs: null, delayMs: null } as const;

async function claimedTurn(options: Parameters<typeof storeTurn>[1] = {}): Promise<string> {
  const { runId } = await storeTurn(database.pool, options);
  await claimTurn(database.pool, runId);
  return runId;
}
const row = async (text: string, ...values: unknown[]): Promise<Record<string, unknown> | undefined> => {
  const found = await database.pool.query<Record<string, unknown>>(text, values);
  return found.rows[0];
};
const runRow = (runId: string) => row('select * from runs where run_id = $1', runId);
const requestState = async (requestId: string) =>
  (await row('select state from agent_requests where request_id = $1', requestId))?.state;
const commandRow = (commandId: string) =>
  row('select state, steer_delivery from commands where command_id = $1', commandId);
const events = async (runId: string) => {
  const found = await database.pool.query<{ type: string; payload: Record<string, unknown> }>(
    'select type, payload from events where run_id = $1 order by seq',
    [runId],
  );
  return found.rows;
};
const next = (runId: string, epoch = 2) => writeAttempt(database.pool, turnSettings, runId, epoch);

describe('endAttempt', () => {
  it('stores how the attempt ended, once, and supersedes what its agent asked', async () => {
    const runId = await claimedTurn();
    const requestId = await askPerson(database.pool, runId);
    expect(await endAttempt(database.pool, lost(runId))).toBe('retry');
    expect(await endAttempt(database.pool, { ...lost(runId), reason: 'told again' })).toBe('retry');
    expect(
      await row(
        'select end_failure_kind, end_reason, counted, ended_at from attempts where run_id = $1',
        runId,
      ),
    ).toMatchObject({
      end_failure_kind: 'runner-lost',
      end_reason: 'the runner process ended',
      counted: true,
      ended_at: expect.any(Date),
    });
    expect(await requestState(requestId)).toBe('superseded');
    expect((await runRow(runId))?.paused_since).toBeNull();
    expect(await events(runId)).toEqual([
      {
        type: 'backend_status',
        payload: {
          phase: 'attempt-ended',
          attempt: 1,
          failureKind: 'runner-lost',
          reason: 'the runner process ended',
          retryInMs: 120,
        },
      },
    ]);
    expect(await openTurn(database.pool, turnSettings, runId)).toMatchObject({ between: 'retry' });
  });

  it.each([
    [
      'completed',
      (runId: string) => storeAttemptOutcome(database.pool, runId, { terminalStatus: 'completed' }),
    ],
    ['cancelled', (runId: string) => requestCancel(database.pool, runId, 'enough')],
    ['leave', (runId: string) => next(runId)],
  ] as const)('answers what came first and stores nothing: %s', async (answer, meanwhile) => {
    const runId = await claimedTurn();
    await meanwhile(runId);
    expect(await endAttempt(database.pool, lost(runId))).toBe(answer);
    expect(await row('select ended_at from attempts where run_id = $1 and epoch = 1', runId)).toEqual({
      ended_at: null,
    });
  });

  it('does not park a turn whose person answered first', async () => {
    const runId = await claimedTurn();
    expect(await endAttempt(database.pool, parked(runId, forPerson))).toBe('supervise');
    expect((await runRow(runId))?.parked_at).toBeNull();
  });
});

describe('a parked turn', () => {
  it('keeps its question and its clocks stand still, until the question is resolved', async () => {
    const runId = await claimedTurn();
    const requestId = await askPerson(database.pool, runId);
    expect(await endAttempt(database.pool, parked(runId, forPerson))).toBe('retry');
    expect(await requestState(requestId)).toBe('pending');
    expect(await runRow(runId)).toMatchObject({ parked_reason: 'person', paused_since: expect.any(Date) });
    const steer = await storeCommand(database.pool, runId, 'steer');
    expect(await openTurn(database.pool, turnSettings, runId)).toMatchObject({ between: 'parked' });
    expect(await lookAtPark(database.pool, { runId, epoch: 1 })).toEqual({
      state: 'parked',
      reason: 'person',
      waitMs: null,
    });
    await database.pool.query(`update agent_requests set state = 'approved' where request_id = $1`, [
      requestId,
    ]);
    expect(await lookAtPark(database.pool, { runId, epoch: 1 })).toEqual({ state: 'over' });
    expect(await next(runId)).toMatchObject({ epoch: 2 });
    expect(await runRow(runId)).toMatchObject({
      parked_at: null,
      parked_reason: null,
      paused_since: null,
      current_epoch: 2,
    });
    expect(await commandRow(steer)).toEqual({ state: 'pending', steer_delivery: 'pending' });
  });

  it('times out the question when its time is over, with an event', async () => {
    const runId = await claimedTurn();
    const soon = await askPerson(database.pool, runId, 400);
    const requestId = await askPerson(database.pool, runId, 600_000);
    await endAttempt(database.pool, parked(runId, forPerson));
    await expect
      .poll(() => lookAtPark(database.pool, { runId, epoch: 1 }), { timeout: 5_000 })
      .toMatchObject({ waitMs: expect.toSatisfy((waitMs: number) => waitMs > 400) });
    expect(await requestState(soon)).toBe('timed-out');
    expect(await requestState(requestId)).toBe('pending');
    expect(await events(runId)).toContainEqual({
      type: 'approval_resolved',
      payload: { requestId: soon, resolution: 'timed-out', reason: 'nobody answered in time' },
    });
  });

  it('waits for a limit until its time, and books the time without a reset', async () => {
    const runId = await claimedTurn();
    const limit = { reason: 'provider-limit', untilMs: null, delayMs: 700 } as const;
    expect(await endAttempt(database.pool, parked(runId, limit))).toBe('retry');
    expect(await endAttempt(database.pool, parked(runId, limit))).toBe('retry');
    const look = await lookAtPark(database.pool, { runId, epoch: 1 });
    expect(look).toMatchObject({ state: 'parked', reason: 'provider-limit' });
    await expect
      .poll(() => lookAtPark(database.pool, { runId, epoch: 1 }), { timeout: 5_000 })
      .toEqual({
        state: 'over',
      });
    await next(runId);
    expect(await loadRetryFacts(database.pool, { runId, epoch: 2 })).toMatchObject({
      providerParkedMs: 700,
      providerParks: 1,
      former: [],
    });
  });

  it('ends by a cancel, by the deadline, and is nobody’s once another attempt is current', async () => {
    const limit = { reason: 'provider-limit', untilMs: Date.now() + 60_000, delayMs: null } as const;
    const [cancelled, late, gone] = [
      await claimedTurn(),
      await claimedTurn({ deadlineInMs: 0 }),
      await claimedTurn(),
    ];
    for (const runId of [cancelled, late, gone]) await endAttempt(database.pool, parked(runId, limit));
    await requestCancel(database.pool, cancelled, null);
    await next(gone);
    const states = [cancelled, late, gone].map((runId) => lookAtPark(database.pool, { runId, epoch: 1 }));
    expect(await Promise.all(states)).toEqual([
      { state: 'cancelled' },
      { state: 'deadline-exceeded' },
      { state: 'leave' },
    ]);
  });
});

describe('writeAttempt', () => {
  it.each([
    ['completed', { completed: true }],
    ['failed', { epoch: 2 }],
  ])('looks at an outcome that came late: %s', async (terminalStatus, expected) => {
    const runId = await claimedTurn();
    await endAttempt(database.pool, lost(runId));
    await storeAttemptOutcome(database.pool, runId, { terminalStatus });
    expect(await next(runId)).toMatchObject(expected);
  });

  it('writes no attempt after a cancel or the end of the run', async () => {
    const [cancelled, ended] = [await claimedTurn(), await claimedTurn()];
    await requestCancel(database.pool, cancelled, null);
    expect(await next(cancelled)).toMatchObject({ epoch: 1, cancelRequested: true });
    await finishTurn(database.pool, ended, {
      terminalStatus: 'failed',
      failureKind: null,
      failureMessage: null,
    });
    expect(await next(ended)).toMatchObject({ epoch: 1, ended: true });
  });

  it('answers the same when it is repeated, also after a cancel', async () => {
    const runId = await claimedTurn();
    const first = await next(runId);
    await requestCancel(database.pool, runId, null);
    expect(await next(runId)).toEqual(first);
  });
});

describe('finishTurn', () => {
  const asLost = { terminalStatus: 'failed', failureKind: 'runner-lost', failureMessage: 'lost' } as const;

  it('ends completed when the attempt has completed, whatever was decided', async () => {
    const runId = await claimedTurn();
    await storeAttemptOutcome(database.pool, runId, { terminalStatus: 'completed' });
    expect(await finishTurn(database.pool, runId, asLost)).toMatchObject({ status: 'completed' });
    expect(await runRow(runId)).toMatchObject({
      status: 'completed',
      failure_kind: null,
      failure_message: null,
    });
  });

  it('takes the whole message of the outcome that ends the run', async () => {
    const runId = await claimedTurn();
    const failureMessage = 'x'.repeat(2_000);
    await storeAttemptOutcome(database.pool, runId, {
      terminalStatus: 'failed',
      failureKind: 'provider-auth',
      failureMessage,
    });
    await finishTurn(database.pool, runId, {
      terminalStatus: 'failed',
      failureKind: 'provider-auth',
      failureMessage: 'xxx…',
    });
    expect(await runRow(runId)).toMatchObject({ failure_message: failureMessage });
  });

  it('withdraws questions, ends a park, and cancels answers that nobody took; a cancel drops no message', async () => {
    const runId = await claimedTurn();
    const requestId = await askPerson(database.pool, runId);
    await endAttempt(database.pool, parked(runId, forPerson));
    const steer = await storeCommand(database.pool, runId, 'steer');
    const pending = await storeCommand(database.pool, runId, 'answer');
    const taken = await storeCommand(database.pool, runId, 'answer');
    await database.pool.query(`update commands set state = 'acknowledged' where command_id = $1`, [taken]);
    await requestCancel(database.pool, runId, 'enough', 2_000);
    const finished = await finishTurn(database.pool, runId, {
      terminalStatus: 'cancelled',
      failureKind: 'cancelled',
      failureMessage: null,
      runnerDeleted: true,
    });
    expect(finished).toEqual({ status: 'cancelled', nextCommandIds: [steer] });
    expect(await requestState(requestId)).toBe('withdrawn');
    expect(await commandRow(steer)).toEqual({ state: 'cancelled', steer_delivery: 'next-turn' });
    expect(await commandRow(pending)).toEqual({ state: 'cancelled', steer_delivery: null });
    expect(await commandRow(taken)).toEqual({ state: 'completed', steer_delivery: null });
    expect(await runRow(runId)).toMatchObject({
      parked_at: null,
      paused_since: null,
      cancel_deadline_ms: 2_000,
    });
    expect((await events(runId)).slice(-2).map((event) => event.payload.phase ?? event.type)).toEqual([
      'runner-deleted',
      'terminal_status',
    ]);
  });

  it('answers the same when it is repeated, whatever the repeat says', async () => {
    const runId = await claimedTurn();
    await finishTurn(database.pool, runId, asLost);
    const again = { terminalStatus: 'cancelled', failureKind: 'cancelled', failureMessage: null } as const;
    expect(await finishTurn(database.pool, runId, again)).toMatchObject({ status: 'failed' });
    expect((await events(runId)).filter((event) => event.type === 'terminal_status')).toHaveLength(1);
  });
});

describe('requestCancel', () => {
  it('keeps the first reason, and takes a deadline that ends sooner', async () => {
    const runId = await claimedTurn();
    await requestCancel(database.pool, runId, 'first', 600_000);
    await requestCancel(database.pool, runId, 'second', 1_000);
    const run = await runRow(runId);
    expect(run).toMatchObject({ cancel_reason: 'first' });
    expect(run?.cancel_deadline_ms).toBeLessThan(10_000);
    await requestCancel(database.pool, runId, null, 500_000);
    expect((await runRow(runId))?.cancel_deadline_ms).toBe(run?.cancel_deadline_ms);
  });
});

describe('supervision facts', () => {
  it('are read for many attempts in one statement; one that cannot be read does not hide the others', async () => {
    const asking = await claimedTurn({ deadlineInMs: 60_000 });
    const broken = await claimedTurn();
    await askPerson(database.pool, asking);
    await database.pool.query(`update runs set execution_policy = '{"leaseMs": -1}' where run_id = $1`, [
      broken,
    ]);
    const keys = [asking, broken, 'run_none'].map((runId) => ({ runId, epoch: 1 }));
    const found = await loadSupervisionFacts(database.pool, keys);
    expect([...found.keys()].sort()).toEqual([`${asking}/1`, `${broken}/1`].sort());
    expect(found.get(attemptName({ runId: broken, epoch: 1 }))).toBeInstanceOf(Error);
    expect(found.get(attemptName({ runId: asking, epoch: 1 }))).toMatchObject({
      waitingSinceMs: expect.any(Number),
      deadlineAtMs: expect.any(Number),
      firstOutputAtMs: expect.any(Number),
      lastResolvedAtMs: null,
      canPark: true,
    });
  });

  it('for a retry: former attempts that count, in order', async () => {
    const runId = await claimedTurn({ policy: { maxAttempts: 5 }, deadlineInMs: 60_000 });
    await endAttempt(database.pool, lost(runId));
    await next(runId);
    await endAttempt(database.pool, { ...lost(runId, 2), failureKind: 'runner-never-claimed' });
    await next(runId, 3);
    const facts = await loadRetryFacts(database.pool, { runId, epoch: 3 });
    expect(facts).toMatchObject({
      maxAttempts: 5,
      cancelRequested: false,
      providerParks: 0,
      former: [
        { failureKind: 'runner-lost', begun: true },
        { failureKind: 'runner-never-claimed', begun: false },
      ],
    });
    expect(facts?.hardLeftMs).toBeLessThan(7_200_000);
    expect(facts?.deadlineLeftMs).toBeLessThan(60_000);
    expect(await loadRetryFacts(database.pool, { runId, epoch: 9 })).toBeUndefined();
  });
});
