import { randomUUID } from 'node:crypto';
import { Context } from '@temporalio/activity';
import { WorkflowFailedError } from '@temporalio/client';
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

function start() {
  const deliveryId = `dlv_${randomUUID()}`;
  return harness.client.workflow.start(workflowTypes.webhookDelivery, {
    workflowId: `webhook/${deliveryId}/1`,
    taskQueue,
    args: [{ deliveryId, generation: 1 }],
  });
}
async function played(world: FakeWorld, overrides: Partial<AllActivities>): Promise<unknown> {
  let result: unknown;
  await harness.withWorkers(world.activities(overrides), async () => {
    const handle = await start();
    result = await handle.result();
    return [handle.workflowId];
  });
  return result;
}
const refused = () =>
  ApplicationFailure.create({ type: 'http-status', message: 'HTTP 500', nextRetryDelay: '1 millisecond' });

describe('a delivery to a webhook', () => {
  it('is tried again when the receiver does not take it, after the pause that its activity says', async () => {
    const world = new FakeWorld();
    let tries = 0;
    const result = await played(world, {
      deliverWebhook: async () => {
        tries += 1;
        if (tries < 4) throw refused();
        return { state: 'delivered' };
      },
    });
    expect([result, tries, world.calls]).toEqual([{ state: 'delivered' }, 4, []]);
  });

  it('is tried ten times and then buried, should the last try not have said that it was the last', async () => {
    const world = new FakeWorld();
    let tries = 0;
    const result = await played(world, {
      deliverWebhook: async () => {
        tries += 1;
        throw refused();
      },
    });
    expect([result, tries, world.calls]).toEqual([{ state: 'dead' }, 10, ['buryWebhook 1']]);
  });

  it('is buried too when somebody cancels it', async () => {
    const world = new FakeWorld();
    let begun = false;
    const activities = world.activities({
      deliverWebhook: async () => {
        begun = true;
        const context = Context.current();
        const timer = setInterval(() => context.heartbeat(), 100);
        return await context.cancelled.finally(() => clearInterval(timer));
      },
    });
    await harness.withWorkers(activities, async () => {
      const handle = await start();
      await expect.poll(() => begun, { timeout: 20_000 }).toBe(true);
      await handle.cancel();
      await expect(handle.result()).rejects.toBeInstanceOf(WorkflowFailedError);
      return [handle.workflowId];
    });
    expect(world.calls).toEqual(['buryWebhook 1']);
  });
});
