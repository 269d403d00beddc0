import { randomUUID } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/common';
import { workflowTypes } from '../../workflows/messages.js';
import { type AllActivities, FakeWorld } from '../workflows/fake-activities.js';
import { type Harness, taskQueue } from '../workflows/harness.js';
import type { Scenario } from './scenarios.js';

const delivery = (name: string, overrides: Partial<AllActivities>): Scenario => ({
  name,
  play: async (harness: Harness) => {
    const deliveryId = `dlv_${randomUUID()}`;
    const workflowId = `webhook/${deliveryId}/1`;
    await harness.withWorkers(new FakeWorld().activities(overrides), async () => {
      await harness.client.workflow.execute(workflowTypes.webhookDelivery, {
        workflowId,
        taskQueue,
        args: [{ deliveryId, generation: 1 }],
      });
      return [];
    });
    return workflowId;
  },
});

/** Messages to webhooks. */
export const webhookScenarios: readonly Scenario[] = [
  delivery('webhook-delivered', {}),
  delivery('webhook-buried', {
    deliverWebhook: async () => {
      throw ApplicationFailure.nonRetryable('Postgres refused deliverWebhook', 'infra-failed');
    },
  }),
];
