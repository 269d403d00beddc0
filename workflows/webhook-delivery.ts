import { CancellationScope, isCancellation } from '@temporalio/workflow';
import { webhookPosts, webhookRecords } from './activity-proxies.js';
import type { WebhookDeliveryInput } from './messages.js';

/**
 * Delivers one message to one webhook: tries by Temporal's retries, and in the end `delivered` or `dead` (docs/adr/0022). What is sent where is read
 * from Postgres at each try, so that nothing of it is in the history.
 */
export async function webhookDeliveryWorkflow(input: WebhookDeliveryInput): Promise<{ state: string }> {
  try {
    return await webhookPosts.deliverWebhook(input);
  } catch (error) {
    // Cancelled by hand, or the worker of the last try died or could not write: nobody has said yet that this is the end.
    await CancellationScope.nonCancellable(() => webhookRecords.buryWebhook(input));
    if (isCancellation(error)) throw error;
    return { state: 'dead' };
  }
}
