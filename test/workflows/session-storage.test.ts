import { randomUUID } from 'node:crypto';
import { WithStartWorkflowOperation, WorkflowUpdateFailedError } from '@temporalio/client';
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
    const activities = world.activities({
      beginEviction: async () => {
        throw ApplicationFailure.nonRetryable('a turn is active', 'session-busy');
      },
    });
    await harness.withWorkers(activities, async () => {
      const refused = await evict(input).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(WorkflowUpdateFailedError);
      // The word by which the API answers is the type of the root cause.
      expect(refused).toMatchObject({ cause: { cause: { type: 'session-busy' } } });
      await ended(input);
      return [`sessionStorage/${input.sessionId}`];
    });
    expect(world.calls).toEqual([]);
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
