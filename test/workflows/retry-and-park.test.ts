import { Context } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { SupervisionVerdict } from '../../domain/supervision.js';
import { type CancelRequest, cancelUpdate, wakeSignal } from '../../workflows/messages.js';
import { FakeWorld } from './fake-activities.js';
import { Harness, turn } from './harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(async () => {
  await harness?.stop();
});

const gone: SupervisionVerdict = { kind: 'runner-gone', begun: true, cause: null };
const parkWaiting: SupervisionVerdict = { kind: 'park-waiting' };
const completed: SupervisionVerdict = { kind: 'outcome', outcome: { terminalStatus: 'completed' } };
const failedWith = (failureKind: 'agent-error' | 'provider-rate-limited'): SupervisionVerdict => ({
  kind: 'outcome',
  outcome: { terminalStatus: 'failed', failureKind },
});
const cancel: { args: [CancelRequest] } = { args: [{ reason: 'enough', deadlineMs: 2_000 }] };
const stateOf = async (workflowId: string) => {
  const { searchAttributes } = await harness.client.workflow.getHandle(workflowId).describe();
  return searchAttributes.AgentRunState?.[0];
};
/** Waits until the world was asked for this. */
const asked = (world: FakeWorld, call: string) =>
  vi.waitFor(() => expect(world.calls).toContain(call), { timeout: 20_000 });

/** Plays a turn to its end; `meanwhile` acts on it. Answers what was done after the first look at the run. */
async function play(
  world: FakeWorld,
  meanwhile: (workflowId: string) => Promise<void> = async () => undefined,
  options: { maxCachedWorkflows?: number } = {},
  activities = world.activities(),
) {
  let result: unknown;
  await harness.withWorkers(
    activities,
    async () => {
      const handle = await harness.startTurn(turn());
      await meanwhile(handle.workflowId);
      result = await handle.result();
      return [handle.workflowId];
    },
    options,
  );
  return { result, calls: world.calls.slice(1, -1) };
}

describe('retry', () => {
  it.each([{}, { maxCachedWorkflows: 0 }])(
    'stores the end of the attempt, proves the runner gone, then begins the next: %j',
    async (options) => {
      const world = new FakeWorld();
      world.verdicts.push(gone, completed);
      const { result, calls } = await play(world, undefined, options);
      expect(result).toMatchObject({ status: 'completed', attempts: 2 });
      expect(calls).toEqual([
        'launchRunner 1',
        'superviseRunner 1',
        'endAttempt 1 runner-lost',
        'stopRunner job-1',
        'writeAttempt 2',
        'launchRunner 2',
        'superviseRunner 2',
        'finishTurn completed null',
      ]);
      expect(world.ends[0]).toMatchObject({ counted: true, compactNext: false, park: null });
      expect(world.ends[0]?.retryInMs).toBeLessThanOrEqual(250);
    },
  );

  it('waits out the back-off of a failure that is not a lost runner', async () => {
    const world = new FakeWorld();
    world.verdicts.push(failedWith('agent-error'), completed);
    const times = new Map<string, number>();
    const inner = world.activities();
    const activities = world.activities({
      stopRunner: async (input) => {
        await inner.stopRunner(input);
        times.set('stopped', Date.now());
      },
      writeAttempt: (input) => {
        times.set('written', Date.now());
        return inner.writeAttempt(input);
      },
    });
    const { result } = await play(world, undefined, {}, activities);
    expect(result).toMatchObject({ status: 'completed', attempts: 2 });
    const waitedMs = (times.get('written') ?? 0) - (times.get('stopped') ?? 0);
    expect(waitedMs).toBeGreaterThanOrEqual(990);
    expect(waitedMs).toBeLessThan(5_000);
  });

  it('ends blocked when the turn killed its runner on every attempt', async () => {
    const world = new FakeWorld();
    world.facts = { maxAttempts: 2 };
    world.verdicts.push(gone, gone);
    const { result, calls } = await play(world);
    expect(result).toMatchObject({ status: 'blocked', attempts: 2 });
    expect(calls.slice(-2)).toEqual(['stopRunner job-2', 'finishTurn blocked poison-turn']);
  });

  it('finishes completed when the attempt turns out to have completed', async () => {
    const world = new FakeWorld();
    world.verdicts.push(gone);
    world.first = { completed: true };
    const { result, calls } = await play(world);
    expect(result).toMatchObject({ status: 'completed', attempts: 1 });
    expect(calls.slice(-2)).toEqual(['writeAttempt 2', 'finishTurn completed null']);
  });

  it('leaves a run that ended otherwise in between', async () => {
    const world = new FakeWorld();
    world.verdicts.push(gone);
    world.first = { ended: true };
    const { result } = await play(world);
    expect(result).toMatchObject({ status: 'superseded' });
    expect(world.calls.filter((call) => call.startsWith('finishTurn'))).toEqual([]);
  });

  it('ends cancelled when a cancel comes in the back-off, without waiting for it', async () => {
    const world = new FakeWorld();
    world.facts = { retryBackoffMs: 60_000 };
    world.verdicts.push(failedWith('agent-error'));
    const { result, calls } = await play(world, async (workflowId) => {
      await vi.waitFor(
        async () => {
          const { events } = await harness.client.workflow.getHandle(workflowId).fetchHistory();
          expect(events?.some((event) => event.timerStartedEventAttributes != null)).toBe(true);
        },
        { timeout: 20_000 },
      );
      await harness.client.workflow.getHandle(workflowId).executeUpdate(cancelUpdate, cancel);
    });
    expect(result).toMatchObject({ status: 'cancelled', attempts: 1 });
    expect(calls.slice(-2)).toEqual(['writeAttempt 2', 'finishTurn cancelled cancelled']);
  });

  it('tries a launch again that gave up for a reason that may pass', async () => {
    const world = new FakeWorld();
    const inner = world.activities();
    const activities = world.activities({
      launchRunner: async (input) => {
        await inner.launchRunner(input);
        if (input.epoch === 1) throw ApplicationFailure.nonRetryable('no space', 'storage-unavailable');
      },
    });
    world.verdicts.push(completed);
    const { result, calls } = await play(world, undefined, {}, activities);
    expect(result).toMatchObject({ status: 'completed', attempts: 2 });
    expect(calls).toContain('endAttempt 1 storage-unavailable');
  });

  it('ends with the kind of the attempt when its runner cannot be proven gone', async () => {
    const world = new FakeWorld();
    world.verdicts.push(gone);
    const activities = world.activities({
      stopRunner: async () => {
        throw ApplicationFailure.nonRetryable('in uninterruptible sleep');
      },
    });
    const { result, calls } = await play(world, undefined, {}, activities);
    expect(result).toMatchObject({ status: 'failed' });
    expect(calls.slice(-1)).toEqual(['finishTurn failed runner-lost']);
    expect(calls).not.toContain('writeAttempt 2');
  });

  it('cancels a launch that is under way, and ends what it left', async () => {
    const world = new FakeWorld();
    const activities = world.activities({
      launchRunner: async () => {
        world.calls.push('launchRunner 1');
        const context = Context.current();
        const timer = setInterval(() => context.heartbeat(), 100);
        await context.cancelled.finally(() => clearInterval(timer));
      },
    });
    const { result, calls } = await play(
      world,
      async (workflowId) => {
        await asked(world, 'launchRunner 1');
        await harness.client.workflow.getHandle(workflowId).executeUpdate(cancelUpdate, cancel);
      },
      {},
      activities,
    );
    expect(result).toMatchObject({ status: 'cancelled' });
    expect(calls).toEqual([
      'launchRunner 1',
      'requestCancel',
      'stopRunner job-1',
      'finishTurn cancelled cancelled',
    ]);
  });
});

describe('park', () => {
  it('waits for a person and goes on when the answer wakes it', async () => {
    const world = new FakeWorld();
    world.verdicts.push(parkWaiting, completed);
    let answered = false;
    world.park = () => (answered ? { state: 'over' } : { state: 'parked', reason: 'person', waitMs: null });
    const { result, calls } = await play(world, async (workflowId) => {
      await vi.waitFor(async () => expect(await stateOf(workflowId)).toBe('waiting'), { timeout: 20_000 });
      answered = true;
      await harness.client.workflow.getHandle(workflowId).signal(wakeSignal, { commandId: 'cmd_9' });
    });
    expect(result).toMatchObject({ status: 'completed', attempts: 2 });
    expect(calls.slice(2)).toEqual([
      'endAttempt 1 null park person',
      'stopRunner job-1',
      'lookAtPark',
      'lookAtPark',
      'writeAttempt 2',
      'launchRunner 2',
      'superviseRunner 2',
      'finishTurn completed null',
    ]);
    expect(world.ends[0]).toMatchObject({ counted: false, failureKind: null });
  });

  it.each([
    ['person', parkWaiting, 'waiting'],
    ['provider-limit', failedWith('provider-rate-limited'), 'parked'],
  ] as const)('looks again when the time of a park for %s is over', async (reason, verdict, state) => {
    const world = new FakeWorld();
    world.verdicts.push(verdict, completed);
    let looks = 0;
    world.park = () => {
      looks += 1;
      return looks === 1 ? { state: 'parked', reason, waitMs: 2_000 } : { state: 'over' };
    };
    const { result } = await play(world, async (workflowId) => {
      await vi.waitFor(async () => expect(await stateOf(workflowId)).toBe(state), { timeout: 20_000 });
    });
    expect(result).toMatchObject({ status: 'completed', attempts: 2 });
    expect(looks).toBe(2);
    expect(world.ends).toMatchObject([{ counted: false, park: { reason } }]);
  });

  it.each([
    ['cancelled', 'cancelled cancelled'],
    ['deadline-exceeded', 'failed deadline-exceeded'],
  ] as const)('ends while it is parked: %s', async (state, end) => {
    const world = new FakeWorld();
    world.verdicts.push(parkWaiting);
    let isOver = false;
    world.park = () => (isOver ? { state } : { state: 'parked', reason: 'person', waitMs: null });
    const { calls } = await play(world, async (workflowId) => {
      await asked(world, 'lookAtPark');
      isOver = true;
      const handle = harness.client.workflow.getHandle(workflowId);
      if (state === 'cancelled') await handle.executeUpdate(cancelUpdate, cancel);
      else await handle.signal(wakeSignal, { commandId: 'cmd_9' });
    });
    expect(calls.slice(-1)).toEqual([`finishTurn ${end}`]);
    expect(calls).not.toContain('writeAttempt 2');
  });

  it('supervises on when a person answered before the park was stored', async () => {
    const world = new FakeWorld();
    world.verdicts.push(parkWaiting, completed);
    const activities = world.activities({ endAttempt: async () => 'supervise' });
    const { result, calls } = await play(world, undefined, {}, activities);
    expect(result).toMatchObject({ status: 'completed', attempts: 1 });
    expect(calls).toEqual([
      'launchRunner 1',
      'superviseRunner 1',
      'superviseRunner 1',
      'finishTurn completed null',
    ]);
  });

  it('continues as new while it is parked, and between attempts, with ids only', async () => {
    const world = new FakeWorld();
    world.verdicts.push(parkWaiting, completed);
    let looks = 0;
    world.park = () => {
      looks += 1;
      return looks < 4 ? { state: 'parked', reason: 'person', waitMs: 1_000 } : { state: 'over' };
    };
    const input = turn({
      maxRounds: 1,
      first: { epoch: 1, jobName: 'job-1', reused: false, launcher: 'process', maxAttempts: 3 },
    });
    await harness.withWorkers(world.activities(), async () => {
      const handle = await harness.startTurn(input);
      expect(await handle.result()).toMatchObject({ status: 'completed', attempts: 2 });
      const executions: string[] = [];
      for await (const one of harness.client.workflow.list({ query: `WorkflowId="${handle.workflowId}"` }))
        executions.push(`${handle.workflowId}#${one.runId}`);
      // Three looks that found it parked, and one attempt written.
      expect(executions.length).toBeGreaterThanOrEqual(4);
      return executions;
    });
    expect(world.calls.filter((call) => call.startsWith('endAttempt'))).toHaveLength(1);
    expect(world.calls.filter((call) => call === 'launchRunner 2')).toHaveLength(1);
    expect(world.calls.filter((call) => call.startsWith('finishTurn'))).toHaveLength(1);
  });
});

describe('clean-up', () => {
  it.each(['supervised', 'parked'] as const)(
    'is done when the workflow itself is cancelled while %s, even if its runner cannot be ended',
    async (where) => {
      const world = new FakeWorld();
      if (where === 'parked') world.verdicts.push(parkWaiting);
      world.park = () => ({ state: 'parked', reason: 'person', waitMs: null });
      const inner = world.activities();
      const activities = world.activities({
        superviseRunner: async (input) => {
          if (world.verdicts.length > 0) return inner.superviseRunner(input);
          world.calls.push('superviseRunner 1');
          const context = Context.current();
          const timer = setInterval(() => context.heartbeat(), 100);
          return await context.cancelled.finally(() => clearInterval(timer));
        },
        stopRunner: async (input) => {
          await inner.stopRunner(input);
          const isFirstOfPark = where === 'parked' && !world.calls.includes('lookAtPark');
          if (!isFirstOfPark) throw ApplicationFailure.nonRetryable('in uninterruptible sleep');
        },
      });
      const { result } = await play(
        world,
        async (workflowId) => {
          await asked(world, where === 'parked' ? 'lookAtPark' : 'superviseRunner 1');
          await harness.client.workflow.getHandle(workflowId).cancel();
        },
        {},
        activities,
      );
      expect(result).toMatchObject({ status: 'cancelled' });
      expect(world.calls.slice(-3, -1)).toEqual(['stopRunner job-1', 'finishTurn cancelled cancelled']);
      expect(world.calls.at(-1)).toMatch(/^announceTurnEnd/);
    },
  );
});

describe('a worker that shuts down', () => {
  it('hands a supervising activity to the next one: same attempt, no second launch', async () => {
    const world = new FakeWorld();
    let watches = 0;
    const activities = world.activities({
      superviseRunner: async ({ epoch }) => {
        watches += 1;
        world.calls.push(`superviseRunner ${epoch}`);
        const context = Context.current();
        if (watches > 1) return { verdict: completed, cancelRequested: false, retry: world.retryFacts() };
        const timer = setInterval(() => context.heartbeat({ phase: 'running' }), 200);
        return await context.cancelled.finally(() => clearInterval(timer));
      },
    });
    const first = await harness.workers(activities);
    const running = Promise.all(Object.values(first).map((worker) => worker.run()));
    const handle = await harness.startTurn(turn());
    await asked(world, 'superviseRunner 1');
    for (const worker of Object.values(first)) worker.shutdown();
    await running;
    await harness.withWorkers(activities, async () => {
      expect(await handle.result()).toMatchObject({ status: 'completed', attempts: 1 });
      return [handle.workflowId];
    });
    expect(world.calls.filter((call) => call === 'superviseRunner 1')).toHaveLength(2);
    expect(world.calls.filter((call) => call.startsWith('launchRunner'))).toHaveLength(1);
    expect(world.ends).toEqual([]);
  });

  it('the check of payloads can fail', async () => {
    const world = new FakeWorld();
    const long = 'x'.repeat(5_000);
    world.verdicts.push({
      kind: 'outcome',
      outcome: { terminalStatus: 'failed', failureKind: 'provider-auth', failureMessage: long },
    });
    await expect(play(world)).rejects.toThrow(/a payload of .* has \d+ characters/);
  });
});
