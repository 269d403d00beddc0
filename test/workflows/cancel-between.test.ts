import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { SupervisionVerdict } from '../../domain/supervision.js';
import { cancelUpdate, wakeSignal } from '../../workflows/messages.js';
import { type AllActivities, FakeWorld } from './fake-activities.js';
import { Harness, turn } from './harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(async () => {
  await harness?.stop();
});

const gone: SupervisionVerdict = { kind: 'runner-gone', begun: true, cause: null };
const completed: SupervisionVerdict = { kind: 'outcome', outcome: { terminalStatus: 'completed' } };
const agentError: SupervisionVerdict = {
  kind: 'outcome',
  outcome: { terminalStatus: 'failed', failureKind: 'agent-error' },
};

const asked = (world: FakeWorld, call: string) =>
  vi.waitFor(() => expect(world.calls).toContain(call), { timeout: 20_000 });
const handleOf = (workflowId: string) => harness.client.workflow.getHandle(workflowId);
const eventsOf = async (workflowId: string) => (await handleOf(workflowId).fetchHistory()).events ?? [];
const backsOff = (workflowId: string) =>
  vi.waitFor(
    async () =>
      expect((await eventsOf(workflowId)).some((event) => event.timerStartedEventAttributes != null)).toBe(
        true,
      ),
    { timeout: 20_000 },
  );

/** What a message does that interrupts the turn: its step stores the cancel, then the session wakes the turn. */
async function interrupt(world: FakeWorld, workflowId: string): Promise<void> {
  world.cancelRequested = true;
  await handleOf(workflowId).signal(wakeSignal, { commandId: 'cmd_2', cancel: true });
}

/** A step that goes on until it is cancelled; `end` is what it ends with then. */
async function untilCancelled(end: (cancellation: unknown) => never): Promise<never> {
  const context = Context.current();
  const timer = setInterval(() => context.heartbeat(), 100);
  try {
    return await context.cancelled;
  } catch (cancellation) {
    return end(cancellation);
  } finally {
    clearInterval(timer);
  }
}
const rethrow = (error: unknown): never => {
  throw error;
};

async function play(
  world: FakeWorld,
  overrides: Partial<AllActivities>,
  meanwhile: (workflowId: string) => Promise<void> = async () => undefined,
) {
  let workflowId = '';
  let result: unknown;
  await harness.withWorkers(world.activities(overrides), async () => {
    const handle = await harness.startTurn(turn());
    workflowId = handle.workflowId;
    await meanwhile(workflowId);
    result = await handle.result();
    return [workflowId];
  });
  return { result, workflowId, calls: world.calls.slice(1, -1) };
}

describe('a message that interrupts the turn', () => {
  it('ends a launch that is under way', async () => {
    const world = new FakeWorld();
    const { result, calls } = await play(
      world,
      {
        launchRunner: async () => {
          world.calls.push('launchRunner 1');
          await untilCancelled(rethrow);
        },
      },
      async (workflowId) => {
        await asked(world, 'launchRunner 1');
        await interrupt(world, workflowId);
      },
    );
    expect(result).toMatchObject({ status: 'cancelled' });
    expect(calls).toEqual(['launchRunner 1', 'stopRunner job-1', 'finishTurn cancelled cancelled']);
  });

  it('ends the wait for the end of the former runner', async () => {
    const world = new FakeWorld();
    world.verdicts.push(gone);
    let stops = 0;
    const { result, calls } = await play(
      world,
      {
        stopRunner: async ({ jobName }) => {
          world.calls.push(`stopRunner ${jobName}`);
          stops += 1;
          if (stops === 1) await untilCancelled(rethrow);
        },
      },
      async (workflowId) => {
        await asked(world, 'stopRunner job-1');
        await interrupt(world, workflowId);
      },
    );
    expect(result).toMatchObject({ status: 'cancelled', attempts: 1 });
    expect(calls.slice(-3)).toEqual([
      'stopRunner job-1',
      'stopRunner job-1',
      'finishTurn cancelled cancelled',
    ]);
  });

  it('ends a back-off', async () => {
    const world = new FakeWorld();
    world.facts = { retryBackoffMs: 120_000 };
    world.verdicts.push(agentError);
    const { result } = await play(world, {}, async (workflowId) => {
      await backsOff(workflowId);
      await interrupt(world, workflowId);
    });
    expect(result).toMatchObject({ status: 'cancelled', attempts: 1 });
  });
});

it("an answer's wake-up does not cut a back-off short", async () => {
  const world = new FakeWorld();
  world.facts = { retryBackoffMs: 3_000 };
  world.verdicts.push(agentError, completed);
  const { result, workflowId } = await play(world, {}, async (id) => {
    await backsOff(id);
    await handleOf(id).signal(wakeSignal, { commandId: 'cmd_2' });
  });
  expect(result).toMatchObject({ status: 'completed', attempts: 2 });
  const events = await eventsOf(workflowId);
  expect(events.filter((event) => event.timerFiredEventAttributes != null)).toHaveLength(1);
});

describe('a former runner that cannot be ended', () => {
  it('does not turn a cancel into a failure', async () => {
    const world = new FakeWorld();
    world.verdicts.push(gone);
    let stops = 0;
    const { result, calls } = await play(
      world,
      {
        stopRunner: async ({ jobName }) => {
          world.calls.push(`stopRunner ${jobName}`);
          stops += 1;
          if (stops > 1) throw ApplicationFailure.nonRetryable('in uninterruptible sleep');
          await untilCancelled(() => {
            throw ApplicationFailure.nonRetryable('processes of the runner cannot be ended');
          });
        },
      },
      async (workflowId) => {
        await asked(world, 'stopRunner job-1');
        await handleOf(workflowId).executeUpdate(cancelUpdate, { args: [{ reason: 'enough' }] });
      },
    );
    expect(result).toMatchObject({ status: 'cancelled' });
    expect(calls.slice(-1)).toEqual(['finishTurn cancelled cancelled']);
  });

  it.each([
    ['its limits', { hardLeftMs: 90_000, deadlineLeftMs: null }, 90, 'runner-lost'],
    ['the hard limit first', { hardLeftMs: 90_000, deadlineLeftMs: 100_000 }, 90, 'runner-lost'],
    ['the deadline first', { hardLeftMs: 3_600_000, deadlineLeftMs: 75_000 }, 75, 'deadline-exceeded'],
    ['at least a minute', { hardLeftMs: 3_600_000, deadlineLeftMs: 2_000 }, 60, 'deadline-exceeded'],
  ])('is tried for what is left: %s', async (_name, facts, limitSeconds, failureKind) => {
    const world = new FakeWorld();
    world.facts = facts;
    world.verdicts.push(gone);
    const { calls, workflowId } = await play(world, {
      stopRunner: async () => {
        throw ApplicationFailure.nonRetryable('in uninterruptible sleep');
      },
    });
    expect(calls.slice(-1)).toEqual([`finishTurn failed ${failureKind}`]);
    const stop = (await eventsOf(workflowId))
      .map((event) => event.activityTaskScheduledEventAttributes)
      .find((attributes) => attributes?.activityType?.name === 'stopRunner');
    expect(Number(stop?.scheduleToCloseTimeout?.seconds)).toBe(limitSeconds);
  });
});

describe('a cancel that was stored when no execution was there to be told', () => {
  it.each(['retry', 'parked'] as const)('ends the turn that begins between two attempts: %s', async (how) => {
    const world = new FakeWorld();
    const park = how === 'retry' ? null : ({ reason: 'person', untilMs: null, delayMs: null } as const);
    world.ends.push({
      runId: 'run',
      epoch: 1,
      failureKind: null,
      reason: 'before',
      counted: true,
      compactNext: false,
      retryInMs: null,
      park,
    });
    world.cancelRequested = true;
    const { result, calls } = await play(world, {});
    expect(result).toMatchObject({ status: 'cancelled', attempts: 1 });
    expect(calls).toEqual(['retryFacts 1', 'stopRunner job-1', 'finishTurn cancelled cancelled']);
  });

  it('ends the turn before a launch', async () => {
    const world = new FakeWorld();
    const inner = world.activities();
    const { result, calls } = await play(world, {
      openTurn: async (run) => {
        const opened = { ...(await inner.openTurn(run)), cancelRequested: true as const };
        return opened;
      },
    });
    expect(result).toMatchObject({ status: 'cancelled' });
    expect(calls).toEqual(['stopRunner job-1', 'finishTurn cancelled cancelled']);
  });
});
