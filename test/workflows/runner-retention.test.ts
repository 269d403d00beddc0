import { randomUUID } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RunnersToRemove } from '../../activities/index.js';
import { retainRunnersSignal, workflowTypes } from '../../workflows/messages.js';
import { type AllActivities, FakeWorld } from './fake-activities.js';
import { Harness, taskQueue } from './harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(async () => {
  await harness?.stop();
});

const toRemove = (...jobNames: string[]): RunnersToRemove => ({
  examined: jobNames.length + 3,
  kept: { active: 1, unknown: 1, withinLimits: 1 },
  toRemove: jobNames.map((jobName) => ({ jobName, reason: 'too-many' })),
  hasMore: false,
});

async function reportOf(activities: AllActivities): Promise<unknown> {
  const workflowId = `maintenance/runner-retention-${randomUUID()}`;
  let report: unknown;
  await harness.withWorkers(activities, async () => {
    const start = { workflowId, taskQueue, args: [] as [] };
    const running = await harness.client.workflow.signalWithStart(workflowTypes.runnerRetention, {
      ...start,
      signal: retainRunnersSignal,
      signalArgs: [],
    });
    report = await running.result();
    return [workflowId];
  });
  return report;
}

describe('a cycle of runner retention', () => {
  it('removes what is to go; what cannot go stops nothing, and is reported', async () => {
    const world = new FakeWorld();
    const report = await reportOf(
      world.activities({
        lookAtRunners: async () => toRemove('a', 'b', 'c'),
        removeRunner: async ({ jobName }) => {
          if (jobName === 'a') throw ApplicationFailure.nonRetryable('node n1 does not answer');
          return { outcome: jobName === 'b' ? 'kept' : 'removed' };
        },
      }),
    );
    expect(report).toEqual({
      isEnabled: true,
      examined: 6,
      kept: { active: 2, unknown: 1, withinLimits: 1 },
      deleted: ['c'],
      failed: [{ jobName: 'a', reason: expect.stringContaining('node n1 does not answer') }],
      hasMore: false,
    });
  });

  it('is followed by another for a Job that came meanwhile', async () => {
    const world = new FakeWorld();
    let looks = 0;
    let begun: () => void = () => undefined;
    const hasBegun = new Promise<void>((resolve) => {
      begun = resolve;
    });
    let goOn: () => void = () => undefined;
    const mayGoOn = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const workflowId = `maintenance/runner-retention-${randomUUID()}`;
    const activities = world.activities({
      lookAtRunners: async () => {
        looks += 1;
        begun();
        await mayGoOn;
        return toRemove();
      },
    });
    await harness.withWorkers(activities, async () => {
      const running = await harness.client.workflow.start(workflowTypes.runnerRetention, {
        workflowId,
        taskQueue,
        args: [],
      });
      await hasBegun;
      await running.signal(retainRunnersSignal);
      await running.signal(retainRunnersSignal);
      goOn();
      await running.result();
      return [workflowId];
    });
    expect(looks).toBe(2);
  });

  it('is over at once where Jobs are kept', async () => {
    const world = new FakeWorld();
    expect(await reportOf(world.activities())).toMatchObject({ isEnabled: false, deleted: [], failed: [] });
  });
});
