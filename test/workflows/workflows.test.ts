import { randomUUID } from 'node:crypto';
import { WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import {
  cancelTaskUpdate,
  cancelUpdate,
  dispatchUpdate,
  steerSignal,
  turnEndedSignal,
  workflowTypes,
} from '../../workflows/messages.js';
import { FakeWorld } from './fake-activities.js';
import { Harness, session, taskQueue, turn } from './harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(async () => {
  await harness?.stop();
});
const withWorkers: Harness['withWorkers'] = (...given) => harness.withWorkers(...given);
const startTurn: Harness['startTurn'] = (input) => harness.startTurn(input);
const send: Harness['send'] = (...given) => harness.send(...given);

describe('turn workflow', () => {
  it('launches, supervises, finishes and announces, in this order', async () => {
    const world = new FakeWorld();
    world.verdicts.push({ kind: 'outcome', outcome: { terminalStatus: 'completed' } });
    const input = turn();
    await withWorkers(world.activities(), async () => {
      const handle = await startTurn(input);
      expect(await handle.result()).toEqual({ runId: input.runId, status: 'completed', attempts: 1 });
      return [handle.workflowId];
    });
    expect(world.calls).toEqual([
      `openTurn ${input.runId}`,
      'launchRunner 1',
      'superviseRunner 1',
      'finishTurn completed null',
      `announceTurnEnd ${input.runId}`,
    ]);
  });

  it('goes on with a history of 0.1.0 as that did: no end of the attempt is stored', async () => {
    const world = new FakeWorld();
    world.answersAsBefore = true;
    world.verdicts.push({ kind: 'runner-gone', begun: false }, { kind: 'runner-gone', begun: true });
    const input = turn();
    await withWorkers(world.activities(), async () => {
      const handle = await startTurn(input);
      expect(await handle.result()).toMatchObject({ status: 'failed', attempts: 2 });
      return [handle.workflowId];
    });
    expect(world.calls.slice(2)).toEqual([
      'superviseRunner 1',
      'stopRunner job-1',
      'writeAttempt 2',
      'launchRunner 2',
      'superviseRunner 2',
      'stopRunner job-2',
      'finishTurn failed runner-lost',
      `announceTurnEnd ${input.runId}`,
    ]);
  });

  it('ends with the cause when the launch is refused for good', async () => {
    const world = new FakeWorld();
    const input = turn();
    const activities = world.activities({
      launchRunner: async () => {
        throw ApplicationFailure.nonRetryable(
          'workspace.path: /nowhere is not a folder',
          'prerequisite-failed',
        );
      },
    });
    await withWorkers(activities, async () => {
      const handle = await startTurn(input);
      expect(await handle.result()).toMatchObject({ status: 'failed' });
      return [handle.workflowId];
    });
    expect(world.calls).toContain('finishTurn failed prerequisite-failed');
  });

  it('stores a cancel while it supervises, and leaves the end to the runner', async () => {
    const world = new FakeWorld();
    const input = turn();
    await withWorkers(world.activities(), async () => {
      const handle = await startTurn(input);
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      const answer = await handle.executeUpdate(cancelUpdate, { args: [{ reason: 'enough' }] });
      expect(answer).toEqual({ runId: input.runId, status: 'running', requested: true });
      world.release();
      await handle.result();
      return [handle.workflowId];
    });
    expect(world.calls).toContain('requestCancel');
  });

  it('takes a step as a regular activity when the local one fails, and loses nothing', async () => {
    const world = new FakeWorld();
    world.verdicts.push({ kind: 'outcome', outcome: { terminalStatus: 'completed' } });
    const inner = world.activities();
    let failures = 2;
    const activities = world.activities({
      finishTurn: async (given) => {
        if (failures > 0) {
          failures -= 1;
          throw new Error('connection refused');
        }
        return inner.finishTurn(given);
      },
    });
    await withWorkers(activities, async () => {
      const handle = await startTurn(turn());
      expect(await handle.result()).toMatchObject({ status: 'completed' });
      return [handle.workflowId];
    });
    expect(failures).toBe(0);
  });

  it('costs the same number of history events whatever is steered, and repeats nothing without a cache', async () => {
    const world = new FakeWorld();
    const input = turn();
    await withWorkers(
      world.activities(),
      async () => {
        const handle = await startTurn(input);
        await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
        await handle.signal(steerSignal, { commandId: 'cmd_1' });
        await handle.signal(steerSignal, { commandId: 'cmd_2' });
        world.release();
        await handle.result();
        return [handle.workflowId];
      },
      { maxCachedWorkflows: 0 },
    );
    expect(world.calls.filter((call) => call.startsWith('launchRunner'))).toHaveLength(1);
    expect(world.calls.filter((call) => call.startsWith('superviseRunner'))).toHaveLength(1);
  });
});

/** What the turn was woken with. */
async function wakeUpsOf(workflowId: string): Promise<unknown[]> {
  const { events } = await harness.client.workflow.getHandle(workflowId).fetchHistory();
  return (events ?? []).flatMap(({ workflowExecutionSignaledEventAttributes: signal }) => {
    if (signal?.signalName !== 'wake') return [];
    const payload: unknown = JSON.parse(
      Buffer.from(signal.input?.payloads?.[0]?.data ?? []).toString('utf8'),
    );
    return [payload];
  });
}

describe('session workflow', () => {
  it('answers a send with its decision, starts the turn, and steers it with the next send', async () => {
    const world = new FakeWorld();
    const input = session();
    await withWorkers(world.activities(), async () => {
      expect(await send(input, 'cmd_1')).toEqual({
        decision: 'turn',
        runId: world.firstRunId,
        commandId: 'cmd_1',
        queued: false,
        launcher: 'process',
        first: null,
      });
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      expect(await send(input, 'cmd_2')).toEqual({
        decision: 'steer',
        runId: world.firstRunId,
        commandId: 'cmd_2',
      });
      await vi.waitFor(
        async () => {
          const { events } = await harness.client.workflow
            .getHandle(`turn/${world.firstRunId}`)
            .fetchHistory();
          expect(
            events?.some((event) => event.workflowExecutionSignaledEventAttributes?.signalName === 'steer'),
          ).toBe(true);
        },
        { timeout: 10_000 },
      );
      world.release();
      await harness.client.workflow.getHandle(`turn/${world.firstRunId}`).result();
      return [`session/${input.sessionId}`, `turn/${world.firstRunId}`];
    });
  });

  it('starts the turn that waits when the former one has ended', async () => {
    const world = new FakeWorld();
    const input = session({ idleMs: 60_000 });
    const runId = `run_${randomUUID()}`;
    await withWorkers(world.activities(), async () => {
      await send(input, 'cmd_1');
      const first = world.active ?? '';
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      world.queued.push(runId);
      world.release();
      await harness.client.workflow.getHandle(`turn/${first}`).result();
      await harness.client.workflow
        .getHandle(`session/${input.sessionId}`)
        .signal(turnEndedSignal, { runId: first, nextCommandIds: [] });
      await vi.waitFor(() => expect(world.calls).toContain(`openTurn ${runId}`), { timeout: 10_000 });
      await vi.waitFor(() =>
        expect(world.calls.filter((call) => call === 'superviseRunner 1')).toHaveLength(2),
      );
      world.release();
      await harness.client.workflow.getHandle(`turn/${runId}`).result();
      return [`session/${input.sessionId}`];
    });
  });

  it('decides about simultaneous sends one after another: one turn, the others steer it', async () => {
    const world = new FakeWorld();
    const input = session();
    await withWorkers(world.activities(), async () => {
      const decisions = await Promise.all(
        ['cmd_1', 'cmd_2', 'cmd_3'].map((commandId) => send(input, commandId)),
      );
      expect(decisions.map((one) => one.decision).sort()).toEqual(['steer', 'steer', 'turn']);
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      world.release();
      await harness.client.workflow.getHandle(`turn/${world.firstRunId}`).result();
      return [`session/${input.sessionId}`];
    });
  });

  it('continues as new with a live turn, which goes on; a message that comes again is decided as before', async () => {
    const world = new FakeWorld();
    const input = session({ maxUpdates: 5 });
    const inner = world.activities();
    const decided = new Map<string, Awaited<ReturnType<typeof inner.acceptMessage>>>();
    const activities = world.activities({
      // Decided once per message, as the step that keeps decisions in Postgres does.
      acceptMessage: async (message) => {
        const decision = decided.get(message.commandId) ?? (await inner.acceptMessage(message));
        decided.set(message.commandId, decision);
        return decision;
      },
    });
    await withWorkers(activities, async () => {
      const first = await send(input, 'cmd_0');
      for (let index = 1; index < 12; index += 1) await send(input, `cmd_${index}`);
      const id = `session/${input.sessionId}`;
      const { raw, runId, status } = await harness.client.workflow.getHandle(id).describe();
      const firstExecution = raw.workflowExecutionInfo?.firstRunId ?? '';
      expect(status.name).toBe('RUNNING');
      expect(runId).not.toBe(firstExecution);
      expect(await send(input, 'cmd_0')).toEqual(first);
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      expect(world.calls.filter((call) => call.startsWith('launchRunner'))).toHaveLength(1);
      world.release();
      await harness.client.workflow.getHandle(`turn/${world.firstRunId}`).result();
      return [`${id}#${firstExecution}`, `turn/${world.firstRunId}`];
    });
    expect(world.calls.filter((call) => call.startsWith('acceptMessage'))).toHaveLength(12);
  });

  it.each(['answer', 'interrupt'] as const)('wakes the turn that waits after an %s', async (what) => {
    const world = new FakeWorld();
    const input = session();
    const inner = world.activities();
    const activities = world.activities({
      acceptMessage: async ({ commandId }) => {
        const runId = world.firstRunId;
        if (commandId === 'cmd_1') return inner.acceptMessage({ commandId });
        if (what === 'answer') return { decision: 'answer', runId, commandId, requestId: 'req_1' };
        const queued = { decision: 'turn', runId: `${runId}_2`, commandId, queued: true } as const;
        return { ...queued, launcher: 'process', first: null, interrupts: runId };
      },
    });
    await withWorkers(activities, async () => {
      await send(input, 'cmd_1');
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      await send(input, 'cmd_2');
      const handle = harness.client.workflow.getHandle(`turn/${world.firstRunId}`);
      const cancel = what === 'interrupt' ? { cancel: true } : {};
      await vi.waitFor(
        async () => expect(await wakeUpsOf(handle.workflowId)).toEqual([{ commandId: 'cmd_2', ...cancel }]),
        { timeout: 10_000 },
      );
      world.release();
      await handle.result();
      return [`session/${input.sessionId}`, handle.workflowId];
    });
  });

  it('wakes a turn also for what is decided while it continues as new', async () => {
    const world = new FakeWorld();
    // The server takes ten Updates at a time.
    const before = 8;
    const input = session({ maxUpdates: before + 1 });
    const inner = world.activities();
    const turnId = `turn/${world.firstRunId}`;
    const activities = world.activities({
      acceptMessage: async ({ commandId }) => {
        if (commandId === 'cmd_first') return inner.acceptMessage({ commandId });
        // Decided only after the turn was woken for all the others: nobody looks at the list for them any more.
        // A workflow task that the server refuses tells some of them twice.
        if (commandId === 'cmd_last')
          await vi.waitFor(async () =>
            expect(new Set((await wakeUpsOf(turnId)).map((one) => JSON.stringify(one))).size).toBe(before),
          );
        return { decision: 'answer', runId: world.firstRunId, commandId, requestId: 'req_1' };
      },
    });
    await withWorkers(activities, async () => {
      await send(input, 'cmd_first');
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      await Promise.all(Array.from({ length: before }, (_, index) => send(input, `cmd_${index}`)));
      await send(input, 'cmd_last');
      await vi.waitFor(
        async () => expect(await wakeUpsOf(turnId)).toContainEqual({ commandId: 'cmd_last' }),
        { timeout: 10_000 },
      );
      const { raw } = await harness.client.workflow.getHandle(`session/${input.sessionId}`).describe();
      world.release();
      await harness.client.workflow.getHandle(turnId).result();
      return [`session/${input.sessionId}#${raw.workflowExecutionInfo?.firstRunId}`, turnId];
    });
  });

  it('stays when a look at its next turn is refused for good, and decides about later messages', async () => {
    const world = new FakeWorld();
    const input = session();
    const activities = world.activities({
      nextTurn: async () => {
        throw ApplicationFailure.nonRetryable('Postgres refused nextTurn (SQLSTATE 23505)', 'infra-failed');
      },
    });
    await withWorkers(activities, async () => {
      expect(await send(input, 'cmd_1')).toMatchObject({ decision: 'turn' });
      expect(await send(input, 'cmd_2')).toMatchObject({ decision: 'steer' });
      await vi.waitFor(() => expect(world.calls).toContain('superviseRunner 1'), { timeout: 10_000 });
      const { status } = await harness.client.workflow.getHandle(`session/${input.sessionId}`).describe();
      expect(status.name).toBe('RUNNING');
      world.release();
      await harness.client.workflow.getHandle(`turn/${world.firstRunId}`).result();
      return [`session/${input.sessionId}`];
    });
  });

  it('ends when nothing has gone on for its idle time', async () => {
    const world = new FakeWorld();
    world.verdicts.push({ kind: 'outcome', outcome: { terminalStatus: 'completed' } });
    const input = session({ idleMs: 1_000 });
    await withWorkers(world.activities(), async () => {
      await send(input, 'cmd_1');
      await harness.client.workflow.getHandle(`session/${input.sessionId}`).result();
      return [`session/${input.sessionId}`];
    });
    expect(world.active).toBeNull();
  });
});

describe('queue task workflow', () => {
  it('dispatches once, follows its run, and ends in one terminal state', async () => {
    const world = new FakeWorld();
    const taskId = `task_${randomUUID()}`;
    const workflowId = `queueTask/${taskId}`;
    await withWorkers(world.activities(), async () => {
      const handle = await harness.client.workflow.start(workflowTypes.queueTask, {
        workflowId,
        taskQueue,
        args: [{ taskId, ...session() }],
      });
      const answers = await Promise.all([
        handle.executeUpdate(dispatchUpdate),
        handle.executeUpdate(dispatchUpdate),
      ]);
      expect(answers[0]).toEqual({ taskId, runId: world.firstRunId, commandId: 'cmd_1' });
      expect(answers[1]).toEqual(answers[0]);
      world.ended.set(taskId, 'completed');
      await handle.signal('taskRunEnded', { runId: world.firstRunId });
      expect(await handle.result()).toEqual({ taskId, state: 'completed' });
      return [workflowId];
    });
    expect(world.calls.filter((call) => call.startsWith('dispatchTask'))).toHaveLength(1);
  });

  it('fails the dispatch of a task that has ended, with its kind', async () => {
    const world = new FakeWorld();
    const activities = world.activities({
      dispatchTask: async () => {
        throw ApplicationFailure.nonRetryable('queue task is completed', 'conflict');
      },
    });
    await withWorkers(activities, async () => {
      const taskId = `task_${randomUUID()}`;
      const handle = await harness.client.workflow.start(workflowTypes.queueTask, {
        workflowId: `queueTask/${taskId}`,
        taskQueue,
        args: [{ taskId, ...session() }],
      });
      await expect(handle.executeUpdate(dispatchUpdate)).rejects.toThrow(WorkflowUpdateFailedError);
      await handle.terminate();
      return [];
    });
  });

  const startTask = (taskId: string) =>
    harness.client.workflow.start(workflowTypes.queueTask, {
      workflowId: `queueTask/${taskId}`,
      taskQueue,
      args: [{ taskId, ...session() }],
    });
  const cancelRequest = { reason: 'enough', deadlineMs: 2_000 };

  it('cancels a task before its dispatch at once; a dispatch afterwards is none', async () => {
    const world = new FakeWorld();
    const taskId = `task_${randomUUID()}`;
    await withWorkers(world.activities(), async () => {
      const handle = await startTask(taskId);
      expect(await handle.executeUpdate(cancelTaskUpdate, { args: [cancelRequest] })).toEqual({
        taskId,
        state: 'cancelled',
        requested: true,
        runId: null,
      });
      expect(await handle.result()).toEqual({ taskId, state: 'cancelled' });
      return [handle.workflowId];
    });
    expect(world.calls).toEqual([`cancelTask ${taskId}`]);
  });

  it.each([
    ['whose message the session refuses answers, and ends the task', false],
    ['whose message the session refuses lets a cancel answer too', true],
  ])('a dispatch %s', async (_name, isCancelled) => {
    const world = new FakeWorld();
    const taskId = `task_${randomUUID()}`;
    const activities = world.activities({
      followTask: async () => {
        const isRefused = world.calls.includes('sendToSession cmd_1');
        return { state: isRefused ? 'failed' : 'queued', terminal: isRefused, runId: null };
      },
      cancelTask: async () => ({ state: 'dispatched', terminal: false, requested: true, runId: null }),
    });
    await withWorkers(activities, async () => {
      const handle = await startTask(taskId);
      const dispatch = handle.executeUpdate(dispatchUpdate);
      if (isCancelled)
        expect(await handle.executeUpdate(cancelTaskUpdate, { args: [cancelRequest] })).toMatchObject({
          runId: null,
        });
      expect(await dispatch).toEqual({ taskId, runId: null, commandId: 'cmd_1' });
      expect(await handle.result()).toEqual({ taskId, state: 'failed' });
      return [handle.workflowId];
    });
    expect(world.calls.filter((call) => call.startsWith('cancelRun'))).toEqual([]);
  });

  it('looks at the task after a dispatch that failed', async () => {
    const world = new FakeWorld();
    const taskId = `task_${randomUUID()}`;
    const activities = world.activities({
      sendToSession: async () => {
        world.ended.set(taskId, 'failed');
        throw ApplicationFailure.nonRetryable('it has ended', 'conflict');
      },
    });
    await withWorkers(activities, async () => {
      const handle = await startTask(taskId);
      await expect(handle.executeUpdate(dispatchUpdate)).rejects.toThrow(WorkflowUpdateFailedError);
      expect(await handle.result()).toEqual({ taskId, state: 'failed' });
      return [handle.workflowId];
    });
  });

  it('cancels the run of a dispatched task and ends with it', async () => {
    const world = new FakeWorld();
    const taskId = `task_${randomUUID()}`;
    const activities = world.activities({
      cancelRun: async ({ runId }) => {
        world.calls.push(`cancelRun ${runId}`);
        world.ended.set(taskId, 'cancelled');
      },
    });
    await withWorkers(activities, async () => {
      const handle = await startTask(taskId);
      // At the same time: the dispatch that has begun is brought to its end, so that there is a run to cancel.
      const dispatching = handle.executeUpdate(dispatchUpdate);
      await vi.waitFor(() => expect(world.calls).toContain(`dispatchTask ${taskId}`), { timeout: 10_000 });
      const [dispatched, cancelled] = await Promise.all([
        dispatching,
        handle.executeUpdate(cancelTaskUpdate, { args: [cancelRequest] }),
      ]);
      expect(cancelled).toMatchObject({ requested: true, runId: dispatched.runId });
      expect(await handle.result()).toEqual({ taskId, state: 'cancelled' });
      return [handle.workflowId];
    });
    expect(world.calls).toContain(`cancelRun ${world.firstRunId}`);
    expect(world.calls.filter((call) => call.startsWith('dispatchTask'))).toHaveLength(1);
  });
});
