import { randomUUID } from 'node:crypto';
import { WithStartWorkflowOperation } from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker, type WorkflowBundleOption } from '@temporalio/worker';
import {
  searchAttributeNames,
  storageTaskQueue,
  superviseTaskQueue,
  webhookTaskQueue,
} from '../../domain/workflow-ids.js';
import { startTracing } from '../../infra/telemetry/tracing.js';
import { createTracingPlugin } from '../../infra/temporal/tracing-plugin.js';
import { bundleWorkflows } from '../../worker/bundle-workflows.js';
import { type SessionInput, sendUpdate, type TurnInput, workflowTypes } from '../../workflows/messages.js';
import type { AllActivities } from './fake-activities.js';

export const taskQueue = 'workflow-tests';
/** No payload of a history is larger: ids and small decisions (architecture.md 3.3). */
const largestPayloadBytes = 4_096;
const tracing = startTracing({ serviceName: 'test' });

/** What a test changes about its workers; `taskQueue`: where its workflows run. */
interface WorkerChanges {
  readonly maxCachedWorkflows?: number;
  readonly taskQueue?: string;
}

/** A Temporal server with the bundle of our workflows, for one test file. */
export class Harness {
  readonly env: TestWorkflowEnvironment;
  readonly bundle: WorkflowBundleOption;

  private constructor(env: TestWorkflowEnvironment, bundle: WorkflowBundleOption) {
    this.env = env;
    this.bundle = bundle;
  }

  /** `path`: the program of the Temporal server. */
  static async start(path = process.env.TEMPORAL_CLI_PATH): Promise<Harness> {
    Runtime.install({ logger: new DefaultLogger('ERROR') });
    if (path === undefined) throw new Error('the global setup names the Temporal server');
    const env = await TestWorkflowEnvironment.createLocal({
      server: {
        executable: { type: 'existing-path', path },
        searchAttributes: Object.values(searchAttributeNames).map((name) =>
          defineSearchAttributeKey(name, 'KEYWORD'),
        ),
      },
    });
    return new Harness(env, await bundleWorkflows(tracing));
  }

  get client() {
    return this.env.client;
  }

  stop(): Promise<void> {
    return this.env.teardown();
  }

  /** The workers of a process, over these activities. */
  async workers(activities: AllActivities, options: WorkerChanges = {}) {
    const common = {
      connection: this.env.nativeConnection,
      activities,
      plugins: [createTracingPlugin(tracing)],
      // A test that fails leaves activities behind that wait for it.
      shutdownGraceTime: 0,
      shutdownForceTime: 3_000,
      // Bounds how late an activity learns of its cancellation.
      maxHeartbeatThrottleInterval: 200,
      defaultHeartbeatThrottleInterval: 200,
      taskQueue,
      ...options,
    };
    const main = await Worker.create({ ...common, workflowBundle: this.bundle });
    return {
      main,
      supervise: await Worker.create({ ...common, taskQueue: superviseTaskQueue }),
      storage: await Worker.create({ ...common, taskQueue: storageTaskQueue }),
      webhooks: await Worker.create({ ...common, taskQueue: webhookTaskQueue }),
    };
  }

  /** Runs `work` beside workers with these activities; the histories of all workflows it names (`id` or `id#run`) are checked afterwards. */
  async withWorkers(
    activities: AllActivities,
    work: () => Promise<readonly string[]>,
    options: WorkerChanges = {},
  ): Promise<void> {
    const { main, supervise, storage, webhooks } = await this.workers(activities, options);
    let ids: readonly string[] = [];
    await main.runUntil(
      supervise.runUntil(
        storage.runUntil(
          webhooks.runUntil(async () => {
            ids = await work();
          }),
        ),
      ),
    );
    for (const id of ids) await this.check(id);
  }

  /** Replays a history and looks at the size of its payloads. */
  async check(workflowId: string): Promise<void> {
    const [id = '', execution] = workflowId.split('#');
    const history = await this.client.workflow.getHandle(id, execution).fetchHistory();
    const replayed = { workflowBundle: this.bundle, plugins: [createTracingPlugin(tracing)] };
    await Worker.runReplayHistory(replayed, history, id);
    const largest = payloadsOf(historyToJSON(history)).reduce((most, text) => Math.max(most, text.length), 0);
    if (largest > largestPayloadBytes)
      throw new Error(`a payload of ${workflowId} has ${largest} characters`);
  }

  startTurn(input: TurnInput) {
    return this.client.workflow.start(workflowTypes.turn, {
      workflowId: `turn/${input.runId}`,
      taskQueue,
      args: [input],
    });
  }

  send(input: SessionInput, commandId: string) {
    return this.client.workflow.executeUpdateWithStart(sendUpdate, {
      args: [{ commandId }],
      startWorkflowOperation: new WithStartWorkflowOperation(workflowTypes.session, {
        workflowId: `session/${input.sessionId}`,
        taskQueue,
        args: [input],
        workflowIdConflictPolicy: 'USE_EXISTING',
      }),
    });
  }
}

/** Every payload of a history, decoded: arguments, results, details, marker data, search attributes. */
export function payloadsOf(historyJson: string): string[] {
  const found: string[] = [];
  JSON.parse(historyJson, (key, value: unknown) => {
    if (key === 'data' && typeof value === 'string')
      found.push(Buffer.from(value, 'base64').toString('utf8'));
    return value;
  });
  return found;
}

export const session = (over: Partial<SessionInput> = {}): SessionInput => ({
  sessionId: `s-${randomUUID()}`,
  tenantId: 't',
  projectId: 'p',
  ...over,
});
export const turn = (over: Partial<TurnInput> = {}): TurnInput => ({
  ...session(),
  runId: `run_${randomUUID()}`,
  launcher: 'process',
  ...over,
});
