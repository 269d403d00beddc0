import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  WithStartWorkflowOperation,
  type WorkflowHandle,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  deleteSessionUpdate,
  ensureStorageUpdate,
  evictStorageUpdate,
  refreshStorageUpdate,
  type SessionStorageInput,
  workflowTypes,
} from '../../workflows/messages.js';
import { FakeWorld } from './fake-activities.js';
import { Harness, session, taskQueue } from './harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(async () => {
  await harness?.stop();
});

const start = (input: SessionStorageInput) =>
  new WithStartWorkflowOperation(workflowTypes.sessionStorage, {
    workflowId: `sessionStorage/${input.sessionId}`,
    taskQueue,
    args: [input],
    workflowIdConflictPolicy: 'USE_EXISTING',
  });
const evict = (input: SessionStorageInput, onlyIfExpired = false) =>
  harness.client.workflow.executeUpdateWithStart(evictStorageUpdate, {
    args: [{ onlyIfExpired }],
    startWorkflowOperation: start(input),
  });
const remove = (input: SessionStorageInput) =>
  harness.client.workflow.executeUpdateWithStart(deleteSessionUpdate, {
    args: [],
    startWorkflowOperation: start(input),
  });
const ended = (input: SessionStorageInput) =>
  harness.client.workflow.getHandle(`sessionStorage/${input.sessionId}`).result();

async function acceptedUpdates(handle: Pick<WorkflowHandle, 'fetchHistory'>): Promise<number> {
  const { events } = await handle.fetchHistory();
  return events?.filter((event) => event.workflowExecutionUpdateAcceptedEventAttributes).length ?? 0;
}

describe('the storage of a session', () => {
  it('is made and measured, and the workflow ends when nothing is left to do', async () => {
    const world = new FakeWorld();
    const input = session();
    await harness.withWorkers(world.activities(), async () => {
      for (const update of [ensureStorageUpdate, refreshStorageUpdate]) {
        await harness.client.workflow.executeUpdateWithStart(update, {
          args: [],
          startWorkflowOperation: start(input),
        });
        await ended(input);
      }
      return [`sessionStorage/${input.sessionId}`];
    });
    expect(world.calls).toEqual(['ensureStorage', 'measureStorage']);
  });

  it('is removed after the mark and when every runner is gone; the rows of a deleted session go last', async () => {
    const world = new FakeWorld();
    world.sessionRunners = ['job-1', 'job-2'];
    const [evicted, deleted] = [session(), session()];
    await harness.withWorkers(world.activities(), async () => {
      expect(await evict(evicted)).toEqual({ removed: true });
      expect(await remove(deleted)).toEqual({ removed: true });
      await Promise.all([evicted, deleted].map(ended));
      return [evicted, deleted].map(({ sessionId }) => `sessionStorage/${sessionId}`);
    });
    const removal = ['stopRunner job-1', 'stopRunner job-2', 'removeStorage'];
    expect(world.calls).toEqual([
      'beginEviction',
      ...removal,
      'beginDeletion',
      ...removal,
      'deleteSessionRows',
    ]);
  });

  it('is left alone when the eviction is refused', async () => {
    const world = new FakeWorld();
    const input = session();
    let asked = 0;
    const activities = world.activities({
      beginEviction: async () => {
        asked += 1;
        throw ApplicationFailure.nonRetryable('a turn is active', 'session-busy');
      },
    });
    await harness.withWorkers(activities, async () => {
      const refused = await evict(input).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(WorkflowUpdateFailedError);
      // The word by which the API answers is the type of the failure.
      expect(refused).toMatchObject({ cause: { type: 'session-busy' } });
      await ended(input);
      return [`sessionStorage/${input.sessionId}`];
    });
    // What is refused for good is asked once: not again as a regular activity.
    expect(asked).toBe(1);
    expect(world.calls).toEqual([]);
  });

  it('is left alone when the decision does not come in the time that somebody waits for it', async () => {
    const world = new FakeWorld();
    const input = session();
    let asked = 0;
    const activities = world.activities({
      beginDeletion: async () => {
        asked += 1;
        throw new Error('Postgres is away');
      },
    });
    await harness.withWorkers(activities, async () => {
      const refused = await remove(input).catch((error: unknown) => error);
      expect(refused).toMatchObject({ cause: { type: 'unavailable' } });
      const before = asked;
      // The workflow ends: nothing is left that could still decide.
      await ended(input);
      expect(asked).toBe(before);
      return [`sessionStorage/${input.sessionId}`];
    });
    expect(asked).toBeGreaterThan(1);
    expect(world.calls).toEqual([]);
  });

  it('answers its caller in the time that the decision has left', async () => {
    const world = new FakeWorld();
    world.sessionRunners = ['job-1'];
    const input = { ...session(), answerWithinMs: 2_000 };
    let stopped: () => void = () => undefined;
    const activities = world.activities({
      beginEviction: async () => {
        await sleep(1_500);
        return { jobNames: ['job-1'], generation: '1' };
      },
      stopRunner: () =>
        new Promise<void>((resolve) => {
          stopped = resolve;
        }),
    });
    await harness.withWorkers(activities, async () => {
      expect(await evict(input)).toEqual({ removed: false });
      stopped();
      await ended(input);
      const { events } = await harness.client.workflow
        .getHandle(`sessionStorage/${input.sessionId}`)
        .fetchHistory();
      const waits = (events ?? []).flatMap(({ timerStartedEventAttributes: timer }) =>
        timer == null ? [] : [Number(timer.startToFireTimeout?.seconds ?? 0)],
      );
      expect(waits).toEqual([0]);
      return [`sessionStorage/${input.sessionId}`];
    });
    expect(world.calls).toEqual(['removeStorage']);
  });

  it('goes on being removed when the caller is answered before the end, and a later request waits its turn', async () => {
    const world = new FakeWorld();
    world.sessionRunners = ['job-1'];
    const input = { ...session(), answerWithinMs: 1_000 };
    let stopped: () => void = () => undefined;
    const activities = world.activities({
      stopRunner: () =>
        new Promise<void>((resolve) => {
          stopped = resolve;
        }),
    });
    await harness.withWorkers(activities, async () => {
      expect(await evict(input)).toEqual({ removed: false });
      expect(world.calls).toEqual(['beginEviction']);
      const ensured = harness.client.workflow.executeUpdateWithStart(ensureStorageUpdate, {
        args: [],
        startWorkflowOperation: start(input),
      });
      stopped();
      await ensured;
      await ended(input);
      return [`sessionStorage/${input.sessionId}`];
    });
    expect(world.calls).toEqual(['beginEviction', 'removeStorage', 'ensureStorage']);
  });

  it('is removed before looks that are queued, and each thing that waits is done once', async () => {
    const world = new FakeWorld();
    world.sessionRunners = ['job-1'];
    const input = session();
    const gates: (() => void)[] = [];
    const held = (call: string) => async () => {
      world.calls.push(call);
      await new Promise<void>((resolve) => {
        gates.push(resolve);
      });
    };
    const activities = world.activities({ measureStorage: held('measure'), stopRunner: held('stop') });
    const opened = async (count: number) => {
      await expect.poll(() => gates.length, { timeout: 20_000 }).toBe(count);
      gates.at(-1)?.();
    };
    await harness.withWorkers(activities, async () => {
      const refresh = () =>
        harness.client.workflow.executeUpdateWithStart(refreshStorageUpdate, {
          args: [],
          startWorkflowOperation: start(input),
        });
      const looks = [refresh()];
      await expect.poll(() => gates.length, { timeout: 20_000 }).toBe(1);
      looks.push(refresh(), refresh(), refresh(), refresh());
      const handle = harness.client.workflow.getHandle(`sessionStorage/${input.sessionId}`);
      const isAccepted = async (count: number) => (await acceptedUpdates(handle)) >= count;
      await expect.poll(() => isAccepted(5), { timeout: 20_000 }).toBe(true);
      const patient = { ...input, answerWithinMs: 20_000 };
      const removed = [remove(patient), remove(patient), evict(patient)];
      await expect.poll(() => isAccepted(8), { timeout: 20_000 }).toBe(true);
      await opened(1);
      await expect.poll(() => gates.length, { timeout: 20_000 }).toBe(2);
      removed.push(remove(patient));
      await expect.poll(() => isAccepted(9), { timeout: 20_000 }).toBe(true);
      await opened(2);
      await opened(3);
      await Promise.all([...looks, ...removed]);
      await ended(input);
      return [`sessionStorage/${input.sessionId}`];
    });
    const decisions = ['beginEviction', 'beginDeletion'];
    expect(world.calls.filter((call) => !decisions.includes(call))).toEqual([
      'measure',
      'stop',
      'removeStorage',
      'deleteSessionRows',
      'measure',
    ]);
  });

  it('goes on in a new execution when there were many requests, after the removal that was decided', async () => {
    const world = new FakeWorld();
    const input = { ...session(), maxUpdates: 4, answerWithinMs: 20_000 };
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const activities = world.activities({
      measureStorage: async () => {
        world.calls.push('measureStorage');
        await held;
      },
    });
    await harness.withWorkers(activities, async () => {
      const { firstExecutionRunId } = await harness.client.workflow.start(workflowTypes.sessionStorage, {
        workflowId: `sessionStorage/${input.sessionId}`,
        taskQueue,
        args: [input],
      });
      const first = harness.client.workflow.getHandle(
        `sessionStorage/${input.sessionId}`,
        firstExecutionRunId,
        { followRuns: false },
      );
      const refresh = () =>
        harness.client.workflow.executeUpdateWithStart(refreshStorageUpdate, {
          args: [],
          startWorkflowOperation: start(input),
        });
      const under = refresh();
      await expect.poll(() => world.calls, { timeout: 20_000 }).toEqual(['measureStorage']);
      // One that is cut off by the end of an execution asks the next one, as the API does.
      const cutOff = refresh().catch(refresh);
      const removed = [remove(input), remove(input)];
      await expect.poll(async () => (await acceptedUpdates(first)) === 4, { timeout: 20_000 }).toBe(true);
      release();
      await Promise.all([under, cutOff, ...removed]);
      await ended(input);
      const { events } = await first.fetchHistory();
      expect(events?.at(-1)?.workflowExecutionContinuedAsNewEventAttributes).toBeTruthy();
      return [`sessionStorage/${input.sessionId}#${firstExecutionRunId}`];
    });
    expect(world.calls.filter((call) => call !== 'beginDeletion')).toEqual([
      'measureStorage',
      'removeStorage',
      'deleteSessionRows',
      'measureStorage',
    ]);
  });
});

describe('a cycle of garbage collection', () => {
  it('reports every session that it looked at; one that fails stops no other', async () => {
    const world = new FakeWorld();
    const owner = { tenantId: 't', projectId: 'p', isDeleted: false };
    const ids = Array.from({ length: 20 }, (_, index) => `s-${index}`);
    world.expired = {
      toRemove: ids.map((sessionId) => ({ sessionId, ...owner })),
      busy: ['busy'],
      hasMore: true,
    };
    const activities = world.activities({
      collectSession: async ({ sessionId }) => {
        if (sessionId === 's-3') throw ApplicationFailure.nonRetryable('the disk is gone', 'infra-failed');
        return sessionId === 's-4' ? { outcome: 'kept', reason: 'busy' } : { outcome: 'deleted', reason: '' };
      },
    });
    const workflowId = `storageGc-${randomUUID()}`;
    await harness.withWorkers(activities, async () => {
      const report = await harness.client.workflow.execute(workflowTypes.storageGc, {
        workflowId,
        taskQueue,
        args: [{ tenantId: null }],
      });
      expect(report).toMatchObject({
        examined: 21,
        failed: [{ sessionId: 's-3', reason: expect.stringContaining('the disk is gone') }],
        hasMore: true,
      });
      expect(report).toHaveProperty('deleted.length', 18);
      expect(report).toHaveProperty('kept.length', 2);
      return [workflowId];
    });
  });
});
