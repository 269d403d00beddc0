import { type NativeConnection, Worker, type WorkflowBundleOption } from '@temporalio/worker';
import type {
  RecordActivities,
  RetentionActivities,
  RunnerActivities,
  RunnerRetentionActivities,
  StorageActivities,
  SuperviseActivities,
  WebhookActivities,
} from '../activities/index.js';
import {
  mainTaskQueue,
  storageTaskQueue,
  superviseTaskQueue,
  webhookTaskQueue,
} from '../domain/workflow-ids.js';
import type { Tracing } from '../infra/telemetry/tracing.js';
import { createTracingPlugin } from '../infra/temporal/tracing-plugin.js';

/** An activity that is cut off at the end of this time is picked up by another worker. */
const shutdownGraceMs = 3_000;
/** After this time the worker ends although something of it hangs; the server gives its tasks to another. */
const shutdownForceMs = 8_000;
/** Sessions whose files are measured or removed at the same time, and a look at the log. */
const storageSlots = 4;
/** Messages to webhooks that are posted at the same time, each for 10 s at most: many times what one subscriber may have under way (store/webhook-due.ts). */
const webhookSlots = 400;

export interface WorkersOptions {
  readonly connection: NativeConnection;
  readonly namespace: string;
  readonly identity: string;
  readonly bundle: WorkflowBundleOption;
  readonly tracing: Tracing;
  readonly superviseSlots: number;
  readonly records: RecordActivities;
  readonly runners: RunnerActivities;
  readonly storage: StorageActivities;
  readonly retention: RetentionActivities & RunnerRetentionActivities;
  readonly supervise: SuperviseActivities;
  readonly webhooks: WebhookActivities;
}

/**
 * The workers of a process: one for workflows, records and runners, one for supervising alone, so that two thousand long watches never starve a launch
 * (architecture.md 4.2), one with few slots for measuring and removing files (docs/adr/0017), and one for posting to webhooks (docs/adr/0022), for the same
 * reason.
 */
export async function createWorkers(options: WorkersOptions): Promise<Worker[]> {
  const common = {
    connection: options.connection,
    namespace: options.namespace,
    identity: options.identity,
    plugins: [createTracingPlugin(options.tracing)],
    shutdownGraceTime: shutdownGraceMs,
    shutdownForceTime: shutdownForceMs,
    // Bounds how late an activity learns of its cancellation.
    maxHeartbeatThrottleInterval: 5_000,
    defaultHeartbeatThrottleInterval: 5_000,
  };
  const main = await Worker.create({
    ...common,
    taskQueue: mainTaskQueue,
    workflowBundle: options.bundle,
    activities: { ...options.records, ...options.runners, ...options.storage },
    maxConcurrentWorkflowTaskExecutions: 100,
    maxConcurrentActivityTaskExecutions: 100,
    maxConcurrentLocalActivityExecutions: 200,
    maxCachedWorkflows: 1_000,
  });
  const supervise = await Worker.create({
    ...common,
    taskQueue: superviseTaskQueue,
    activities: { ...options.supervise },
    maxConcurrentActivityTaskExecutions: options.superviseSlots,
  });
  const storage = await Worker.create({
    ...common,
    taskQueue: storageTaskQueue,
    activities: { ...options.storage, ...options.retention },
    maxConcurrentActivityTaskExecutions: storageSlots,
  });
  const webhooks = await Worker.create({
    ...common,
    taskQueue: webhookTaskQueue,
    activities: { ...options.webhooks },
    maxConcurrentActivityTaskExecutions: webhookSlots,
  });
  return [main, supervise, storage, webhooks];
}
