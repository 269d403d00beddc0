import { defineSearchAttributeKey } from '@temporalio/common';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { MockActivityEnvironment, TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, type Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRetentionActivities } from '../../activities/event-retention.js';
import type { RunnerActivities, SuperviseActivities } from '../../activities/index.js';
import { createRecordActivities } from '../../activities/records.js';
import { askForRunnerRetention, createRunnerRetentionActivities } from '../../activities/runner-retention.js';
import { createRunnerActivities } from '../../activities/runners.js';
import { createStorageActivities } from '../../activities/storage.js';
import { createSuperviseActivities } from '../../activities/supervise-runner.js';
import { createWebhookActivities } from '../../activities/webhooks.js';
import {
  mainTaskQueue,
  runnerRetentionWorkflowId,
  searchAttributeNames,
  turnWorkflowId,
} from '../../domain/workflow-ids.js';
import type { Launcher, RunnerLaunch } from '../../infra/launchers/launcher.js';
import { DirectoryStorage } from '../../infra/storage/directory-storage.js';
import { createLogger } from '../../infra/telemetry/logger.js';
import { startTracing } from '../../infra/telemetry/tracing.js';
import { Listener } from '../../store/listener.js';
import { Notifier } from '../../store/notifier.js';
import { createPool, type Pool } from '../../store/pool.js';
import { bundleWorkflows } from '../../worker/bundle-workflows.js';
import { createWorkers } from '../../worker/workers.js';
import { cancelUpdate, workflowTypes } from '../../workflows/messages.js';
import { storageDataDir } from '../support/fake-storage.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';
import {
  claimTurn,
  type StoredTurn,
  storeAttemptOutcome,
  storeTurn,
  turnSettings,
} from '../support/turn-rows.js';
import { payloadsOf } from '../workflows/harness.js';

const heldOpen = 150;
const superviseSlots = 400;
const secretPrompt = 'PROMPT-THAT-NO-HISTORY-HOLDS';
const logger = createLogger({ name: 'test', level: 'silent' });
const tracing = startTracing({ serviceName: 'test' });

let postgres: TestPostgres;
let database: TestDatabase;
let temporal: TestWorkflowEnvironment;
let pool: Pool;
let listener: Listener;
let notifier: Notifier;
let workers: Worker[];
let running: Promise<unknown>;
let runners: RunnerActivities;
const launched: RunnerLaunch[] = [];
/** Supervising activities that are under way, by run. */
const watched = new Set<string>();
/** How many attempts each look at Postgres asked for. */
const batches: number[] = [];

const launcher: Launcher = {
  kind: 'process',
  launch: async (launch) => {
    launched.push(launch);
  },
  stop: async () => undefined,
  retire: async () => true,
  diagnostics: async () => undefined,
  fate: async () => ({ state: 'unknown' }),
  watch: () => () => undefined,
};

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  postgres = await startPostgres();
  database = await postgres.newDatabase();
  temporal = await TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path: process.env.TEMPORAL_CLI_PATH ?? '' },
      searchAttributes: Object.values(searchAttributeNames).map((name) =>
        defineSearchAttributeKey(name, 'KEYWORD'),
      ),
    },
  });
  pool = createPool({
    connectionString: database.url,
    applicationName: 'test-worker',
    maxConnections: 30,
    onError: () => undefined,
  });
  listener = new Listener(database.url, logger);
  notifier = new Notifier(pool, logger);
  listener.start();
  runners = createRunnerActivities({
    pool,
    notifier,
    launcher,
    storage: new DirectoryStorage(storageDataDir()),
    client: temporal.client,
    mintLaunchToken: async () => 'launch-token',
    onLaunched: () => askForRunnerRetention(temporal.client),
  });
  workers = await createWorkers({
    connection: temporal.nativeConnection,
    namespace: 'default',
    identity: 'test',
    bundle: await bundleWorkflows(tracing),
    tracing,
    superviseSlots,
    records: createRecordActivities({ pool, notifier, settings: turnSettings }),
    runners,
    storage: createStorageActivities({
      pool,
      storage: new DirectoryStorage(storageDataDir()),
      client: temporal.client,
    }),
    retention: {
      ...createRetentionActivities({ databaseUrl: database.url, retentionDays: undefined }),
      ...createRunnerRetentionActivities({
        pool,
        cluster: undefined,
        settings: undefined,
        stopRunner: () => Promise.resolve(),
      }),
    },
    supervise: countWatched(createSuperviseActivities({ pool: countBatches(pool), listener, launcher })),
    webhooks: createWebhookActivities({
      pool,
      key: undefined,
      publicUrl: undefined,
      post: { allowedHosts: [] },
    }),
  });
  running = Promise.all(workers.map((worker) => worker.run()));
});
afterAll(async () => {
  for (const worker of workers ?? []) worker.shutdown();
  await running;
  await temporal?.teardown();
  await notifier?.close();
  await listener?.close();
  await pool?.end();
  await postgres?.stop();
});

function countBatches(target: Pool): Pool {
  return new Proxy(target, {
    get(real, name) {
      const own: unknown = Reflect.get(real, name, real);
      if (name !== 'query') return own;
      return (text: string, values: unknown[]) => {
        if (text.includes('as w(run_id, epoch)') && Array.isArray(values[0])) batches.push(values[0].length);
        return real.query(text, values);
      };
    },
  });
}

function countWatched(activities: SuperviseActivities): SuperviseActivities {
  return {
    superviseRunner: async (input) => {
      watched.add(input.runId);
      try {
        return await activities.superviseRunner(input);
      } finally {
        watched.delete(input.runId);
      }
    },
  };
}

function startTurn({ runId, sessionId }: StoredTurn, kind: 'process' | 'external') {
  const owner = { tenantId: 'acme', projectId: 'web', sessionId, runId };
  return temporal.client.workflow.start(workflowTypes.turn, {
    workflowId: turnWorkflowId(runId),
    taskQueue: mainTaskQueue,
    args: [{ ...owner, launcher: kind }],
  });
}

describe('150 turns that are held open', () => {
  it('leave room for the 151st to launch and to be cancelled within 2 s, at one query per look', async () => {
    const turns: StoredTurn[] = [];
    for (let index = 0; index < heldOpen; index += 1) {
      const stored = await storeTurn(database.pool, { launcher: 'external', prompt: secretPrompt });
      await claimTurn(database.pool, stored.runId, 600_000);
      turns.push(stored);
    }
    await Promise.all(turns.map((stored) => startTurn(stored, 'external')));
    await expect.poll(() => watched.size, { timeout: 60_000, interval: 100 }).toBe(heldOpen);
    batches.length = 0;
    // The safety looks of all of them fall into one query each time.
    await expect
      .poll(() => batches.filter((size) => size >= heldOpen * 0.9).length, { timeout: 20_000, interval: 100 })
      .toBeGreaterThanOrEqual(3);
    expect(batches.length).toBeLessThan(heldOpen / 2);

    const last = await storeTurn(database.pool, { prompt: secretPrompt });
    const handle = await startTurn(last, 'process');
    await expect
      .poll(() => launched.map((one) => one.runId), { timeout: 20_000, interval: 50 })
      .toContain(last.runId);
    await claimTurn(database.pool, last.runId);
    await expect.poll(() => watched.has(last.runId), { timeout: 20_000, interval: 50 }).toBe(true);
    expect(watched.size).toBe(heldOpen + 1);
    expect(watched.size).toBeLessThan(superviseSlots);

    const askedAtMs = Date.now();
    await handle.executeUpdate(cancelUpdate, { args: [{ reason: 'enough', deadlineMs: 10_000 }] });
    // What its runner does about it.
    await storeAttemptOutcome(database.pool, last.runId, {
      terminalStatus: 'cancelled',
      failureKind: 'cancelled',
    });
    notifier.notify('agentrun_attempt', last.runId);
    expect(await handle.result()).toMatchObject({ status: 'cancelled', attempts: 1 });
    expect(Date.now() - askedAtMs).toBeLessThan(2_000);
    expect(watched.size).toBe(heldOpen);

    for (const { runId } of turns)
      await storeAttemptOutcome(database.pool, runId, { terminalStatus: 'completed' });
    const results = turns.map(({ runId }) =>
      temporal.client.workflow.getHandle(turnWorkflowId(runId)).result(),
    );
    expect(await Promise.all(results)).toMatchObject(turns.map(() => ({ status: 'completed' })));
    for (const { runId } of [last, ...turns.slice(0, 3)]) {
      const history = await temporal.client.workflow.getHandle(turnWorkflowId(runId)).fetchHistory();
      const payloads = payloadsOf(historyToJSON(history));
      expect(payloads.length).toBeGreaterThan(3);
      expect(payloads.filter((text) => text.includes(secretPrompt))).toEqual([]);
      expect(Math.max(...payloads.map((text) => text.length))).toBeLessThan(4_096);
    }
  }, 180_000);
});

describe('a launch', () => {
  it('is followed by a cycle of runner retention, one workflow for all that come together', async () => {
    const turns = [await storeTurn(database.pool), await storeTurn(database.pool)];
    await Promise.all(turns.map((turn) => startTurn(turn, 'process')));
    await expect
      .poll(() => launched.map((one) => one.runId), { timeout: 20_000, interval: 50 })
      .toEqual(expect.arrayContaining(turns.map(({ runId }) => runId)));
    const cycle = temporal.client.workflow.getHandle(runnerRetentionWorkflowId);
    expect(await cycle.result()).toMatchObject({ isEnabled: false, deleted: [] });
    for (const { runId } of turns)
      await temporal.client.workflow.getHandle(turnWorkflowId(runId)).terminate('the test is over');
  });
});

describe('a cancel for a queue task', () => {
  const cancelRun = (runId: string) =>
    new MockActivityEnvironment().run(() =>
      runners.cancelRun({ runId, reason: 'enough', deadlineMs: 3_000 }),
    );
  const runRow = async (runId: string): Promise<Record<string, unknown> | undefined> => {
    const found = await database.pool.query<Record<string, unknown>>(
      'select status, cancel_requested_at, cancel_deadline_ms from runs where run_id = $1',
      [runId],
    );
    return found.rows[0];
  };

  it('goes to the turn of the run when it has one', async () => {
    const stored = await storeTurn(database.pool, { launcher: 'external' });
    const handle = await startTurn(stored, 'external');
    await expect.poll(() => watched.has(stored.runId), { timeout: 20_000, interval: 50 }).toBe(true);
    await cancelRun(stored.runId);
    expect(await handle.result()).toMatchObject({ status: 'cancelled' });
  });

  it('is stored when its turn has no workflow yet, and ends a run that waits behind another at once', async () => {
    const begun = await storeTurn(database.pool);
    await cancelRun(begun.runId);
    expect(await runRow(begun.runId)).toMatchObject({
      status: 'pending',
      cancel_requested_at: expect.any(Date),
      cancel_deadline_ms: 3_000,
    });
    const queued = await storeTurn(database.pool);
    await database.pool.query('update runs set session_turn = null where run_id = $1', [queued.runId]);
    await cancelRun(queued.runId);
    expect(await runRow(queued.runId)).toMatchObject({ status: 'cancelled' });
  });
});
