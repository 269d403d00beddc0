import { randomUUID } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { workflowTypes } from '../../workflows/messages.js';
import { type AllActivities, FakeWorld } from './fake-activities.js';
import { Harness, taskQueue } from './harness.js';

let harness: Harness;
beforeAll(async () => {
  harness = await Harness.start();
});
afterAll(async () => {
  await harness?.stop();
});

async function reportOf(activities: AllActivities): Promise<unknown> {
  const workflowId = `maintenance/event-retention-${randomUUID()}`;
  let report: unknown;
  await harness.withWorkers(activities, async () => {
    report = await harness.client.workflow.execute(workflowTypes.eventRetention, {
      workflowId,
      taskQueue,
      args: [],
    });
    return [workflowId];
  });
  return report;
}

describe('a cycle of retention', () => {
  it('makes partitions, drops months one after another, then what has none, and reports it', async () => {
    const world = new FakeWorld();
    world.months = ['events_2024_01', 'events_2024_02'];
    const report = await reportOf(
      world.activities({
        makeEventPartitions: async () => ['events_2024_07'],
        dropEventMonth: async ({ month }) => {
          world.calls.push(`dropEventMonth ${month}`);
          return month === 'events_2024_01'
            ? { outcome: 'dropped' }
            : { outcome: 'kept', reason: 'run run_1 has not ended' };
        },
        trimDefaultEvents: async () => {
          world.calls.push('trimDefaultEvents');
          return { deleted: 2, kept: 1 };
        },
      }),
    );
    expect(report).toEqual({
      retentionDays: 30,
      made: ['events_2024_07'],
      examined: 2,
      dropped: ['events_2024_01'],
      kept: [{ month: 'events_2024_02', reason: 'run run_1 has not ended' }],
      withoutPartition: { deleted: 2, kept: 1 },
      failed: [],
    });
    expect(world.calls).toEqual([
      'dropEventMonth events_2024_01',
      'dropEventMonth events_2024_02',
      'trimDefaultEvents',
    ]);
  });

  it('goes on after what fails, and names it', async () => {
    const world = new FakeWorld();
    world.months = ['events_2024_01', 'events_2024_02'];
    const fail = async () => {
      throw ApplicationFailure.nonRetryable('the table stayed locked', 'infra-failed');
    };
    const report = await reportOf(
      world.activities({
        makeEventPartitions: fail,
        dropEventMonth: async ({ month }) => (month === 'events_2024_01' ? fail() : { outcome: 'dropped' }),
        trimDefaultEvents: fail,
      }),
    );
    expect(report).toMatchObject({
      made: [],
      examined: 2,
      dropped: ['events_2024_02'],
      withoutPartition: { deleted: 0, kept: 0 },
      failed: [
        { step: 'making partitions', reason: expect.stringContaining('stayed locked') },
        { step: 'dropping events_2024_01' },
        { step: 'deleting events without a partition' },
      ],
    });
  });

  it('asks again for locks that were not given, a few times', async () => {
    const world = new FakeWorld();
    world.months = ['events_2024_01'];
    let asked = 0;
    const report = await reportOf(
      world.activities({
        dropEventMonth: async () => {
          asked += 1;
          if (asked === 1) throw new Error('canceling statement due to lock timeout');
          return { outcome: 'dropped' };
        },
      }),
    );
    expect(report).toMatchObject({ dropped: ['events_2024_01'], failed: [] });
    expect(asked).toBe(2);
  });

  it('makes partitions and deletes nothing where events are kept for ever', async () => {
    const world = new FakeWorld();
    const report = await reportOf(
      world.activities({ listPastEventMonths: async () => ({ retentionDays: null, months: [] }) }),
    );
    expect(report).toMatchObject({ retentionDays: null, examined: 0, dropped: [], failed: [] });
    expect(world.calls).toEqual(['makeEventPartitions']);
  });
});
