import { setTimeout as sleep } from 'node:timers/promises';
import { type Client, WorkflowExecutionAlreadyStartedError } from '@temporalio/client';
import { mainTaskQueue, webhookDeliveryWorkflowId } from '../domain/workflow-ids.js';
import type { Logger } from '../infra/telemetry/logger.js';
import type { Listener } from '../store/listener.js';
import type { Pool } from '../store/pool.js';
import { cleanUpWebhooks, countUnended } from '../store/webhook-cleanup.js';
import { type DueDelivery, dueDeliveries, noteDispatched } from '../store/webhook-due.js';
import { webhookAttributes, workflowTypes } from '../workflows/messages.js';
import { RepeatedLooks } from './repeated-looks.js';

/** Without a wake-up. */
const pollMs = 3_000;
/** Between two looks: each recorded try wakes, and not each of them is to be a look of its own. */
const pauseMs = 50;
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
  readonly #looks: RepeatedLooks;
  #cleanUpAtMs = 0;

  constructor(dependencies: DispatcherDependencies) {
    this.#dependencies = dependencies;
    this.#looks = new RepeatedLooks({
      logger: dependencies.logger,
      words: {
        doing: 'handing deliveries of webhooks to Temporal',
        notDo: 'hand deliveries of webhooks to Temporal',
      },
      run: (signal) => this.#run(signal),
    });
  }

  /** Begins to look in the background. */
  start(): void {
    this.#looks.start();
  }

  /** Resolves when the look that is under way has ended. */
  async stop(): Promise<void> {
    await this.#looks.stop();
  }

  async #run(signal: AbortSignal): Promise<void> {
    const waiter = this.#dependencies.listener.arm('agentrun_webhook', 'due');
    try {
      while (!signal.aborted) {
        // A look that failed is not gone on with at once.
        const isMore = (await this.#looks.safely(() => this.#lookAndCleanUp())) === largestLook;
        await sleep(pauseMs);
        if (!isMore) await waiter.wait(pollMs * (0.75 + Math.random() / 2), signal);
      }
    } finally {
      waiter.close();
    }
  }

  async #lookAndCleanUp(): Promise<number> {
    try {
      return await this.look();
    } finally {
      // Also while something cannot be started.
      await this.#cleanUp();
    }
  }

  /**
   * One round; answers how many workflows are there for it.
   *
   * @throws Error when some of them could not be started: the others are.
   */
  async look(): Promise<number> {
    const waiting = await dueDeliveries(this.#dependencies.pool, largestLook);
    const count = waiting.length;
    const failures: unknown[] = [];
    const startOneAfterAnother = async () => {
      for (let due = waiting.shift(); due !== undefined; due = waiting.shift()) {
        if (this.#looks.signal.aborted) return;
        await this.#begin(due).catch((error: unknown) => failures.push(error));
      }
    };
    await Promise.all(Array.from({ length: atOnce }, startOneAfterAnother));
    if (failures.length === 0) return count;
    throw new Error(`${failures.length} of ${count} deliveries could not be handed over`, {
      cause: failures[0],
    });
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
