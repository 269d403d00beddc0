import { type Client, WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { mainTaskQueue, webhookDeliveryWorkflowId } from '../domain/workflow-ids.js';
import type { Logger } from '../infra/telemetry/logger.js';
import type { Listener } from '../store/listener.js';
import type { Pool } from '../store/pool.js';
import { cleanUpWebhooks, countUnended } from '../store/webhook-cleanup.js';
import { type DueDelivery, dueDeliveries, noteDispatched } from '../store/webhook-deliveries.js';
import { webhookAttributes, workflowTypes } from '../workflows/messages.js';

/** Without a wake-up. */
const pollMs = 3_000;
const cleanUpEveryMs = 60_000;
/** Deliveries of a look, and workflows that are started at the same time. */
const largestLook = 200;
const atOnce = 20;
const startTimeoutMs = 5_000;

interface DispatcherDependencies {
  readonly pool: Pool;
  readonly listener: Pick<Listener, 'arm'>;
  readonly client: Client;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
  /** Told about every minute how many deliveries have not ended. */
  readonly onUnended: (count: number) => void;
  /** Tests: where the workflows run. */
  readonly taskQueue?: string;
}

/**
 * Brings the outbox of webhooks to Temporal: starts one workflow for each delivery and generation and marks it then. What dies in between is started
 * once more, which finds the workflow there; several workers at the same time do no harm. Also deletes what is not kept.
 */
export class WebhookDispatcher {
  readonly #dependencies: DispatcherDependencies;
  readonly #stopping = new AbortController();
  #cleanUpAtMs = 0;
  #hasFailed = false;
  #running: Promise<void> | undefined;

  constructor(dependencies: DispatcherDependencies) {
    this.#dependencies = dependencies;
  }

  /** Begins to look in the background. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Resolves when the look that is under way has ended. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const waiter = this.#dependencies.listener.arm('agentrun_webhook', 'due');
    try {
      while (!signal.aborted) {
        const isMore = await this.#lookSafely();
        if (!isMore) await waiter.wait(pollMs * (0.75 + Math.random() / 2), signal);
      }
    } finally {
      waiter.close();
    }
  }

  /** Whether more is to be done at once. */
  async #lookSafely(): Promise<boolean> {
    const { logger } = this.#dependencies;
    try {
      const started = await this.look();
      await this.#cleanUp();
      if (this.#hasFailed) logger.info('handing deliveries of webhooks to Temporal works again');
      this.#hasFailed = false;
      return started === largestLook;
    } catch (error) {
      // Postgres or Temporal may be away for hours: said once.
      if (!this.#hasFailed)
        logger.warn({ cause: error }, 'cannot hand deliveries of webhooks to Temporal; goes on trying');
      this.#hasFailed = true;
      return false;
    }
  }

  /** One round; answers how many workflows are there for it. */
  async look(): Promise<number> {
    const waiting = await dueDeliveries(this.#dependencies.pool, largestLook);
    const count = waiting.length;
    const startOneAfterAnother = async () => {
      for (let due = waiting.shift(); due !== undefined; due = waiting.shift()) {
        if (this.#stopping.signal.aborted) return;
        await this.#begin(due);
      }
    };
    const ends = await Promise.allSettled(Array.from({ length: atOnce }, startOneAfterAnother));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    return count;
  }

  async #begin({ deliveryId, generation, tenantId }: DueDelivery): Promise<void> {
    const { pool, client, taskQueue = mainTaskQueue } = this.#dependencies;
    try {
      await client.withDeadline(Date.now() + startTimeoutMs, () =>
        client.workflow.start(workflowTypes.webhookDelivery, {
          workflowId: webhookDeliveryWorkflowId(deliveryId, generation),
          taskQueue,
          args: [{ deliveryId, generation }],
          // Also one that has ended is not begun anew.
          workflowIdReusePolicy: 'REJECT_DUPLICATE',
          workflowIdConflictPolicy: 'FAIL',
          typedSearchAttributes: webhookAttributes(tenantId),
          staticSummary: `delivery ${deliveryId}`,
        }),
      );
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
    await noteDispatched(pool, { deliveryId, generation });
  }

  async #cleanUp(): Promise<void> {
    if (Date.now() < this.#cleanUpAtMs) return;
    const { pool, onUnended } = this.#dependencies;
    const isMore = await cleanUpWebhooks(pool);
    onUnended(await countUnended(pool));
    this.#cleanUpAtMs = isMore ? 0 : Date.now() + cleanUpEveryMs;
  }
}
