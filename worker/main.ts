import { existsSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { NativeConnection, Runtime, type WorkflowBundleOption } from '@temporalio/worker';
import { createRetentionActivities } from '../activities/event-retention.js';
import { createRecordActivities } from '../activities/records.js';
import { askForRunnerRetention, createRunnerRetentionActivities } from '../activities/runner-retention.js';
import { createRunnerActivities } from '../activities/runners.js';
import { createStorageActivities } from '../activities/storage.js';
import { createSuperviseActivities } from '../activities/supervise-runner.js';
import { createWebhookActivities } from '../activities/webhooks.js';
import { packageRoot } from '../infra/config/package-root.js';
import { ConfigurationError } from '../infra/config/read-env.js';
import { startWarnings } from '../infra/config/start-warnings.js';
import { readWorkerConfig } from '../infra/config/worker-config.js';
import { createLogger, type Logger } from '../infra/telemetry/logger.js';
import { serveMetrics } from '../infra/telemetry/metrics-server.js';
import { createRedactor } from '../infra/telemetry/redaction.js';
import { startTracing, type Tracing } from '../infra/telemetry/tracing.js';
import { connectTemporal, tlsTowards } from '../infra/temporal/client.js';
import { RunnerTokens } from '../infra/tokens/runner-tokens.js';
import { readWebhookKey } from '../infra/webhooks/webhook-key.js';
import { Listener } from '../store/listener.js';
import { Notifier } from '../store/notifier.js';
import { createPool } from '../store/pool.js';
import { bundleWorkflows } from './bundle-workflows.js';
import { checkWorker } from './check.js';
import { meteredRecords, meteredRunners, meteredSupervision } from './metered-activities.js';
import { WorkerMetrics } from './metrics.js';
import { createRunnerSide, runnerLifeMs } from './runner-side.js';
import { RunnerSweep } from './runner-sweep.js';
import { ensureSchedules } from './schedules.js';
import { temporalLogger } from './temporal-logger.js';
import { WebhookDispatcher } from './webhook-dispatcher.js';
import { createWorkers } from './workers.js';

const metricsDrainMs = 500;

/** Runs a worker until SIGTERM or SIGINT. Exit codes: 0 drained, 1 unforeseen, 2 wrong configuration. */
async function main(): Promise<number> {
  const config = readWorkerConfig();
  const redactor = createRedactor([
    config.databaseUrl,
    ...(config.temporal.apiKey === undefined ? [] : [config.temporal.apiKey]),
  ]);
  const logger = createLogger({ name: 'worker', level: config.logLevel, redactor });
  const webhookKey = readWebhookKey(config.webhooks.keyFile, (key) => redactor.add(key));
  for (const warning of startWarnings()) logger.warn(warning, 'a setting has no effect, or is wrong');
  const metrics = new WorkerMetrics();
  const tracing = startTracing({
    serviceName: 'agentrun-worker',
    otlpEndpoint: config.otlpEndpoint,
    onFailure: metrics.process.onTelemetryFailure,
  });
  Runtime.install({
    logger: temporalLogger(logger),
    shutdownSignals: [],
    telemetryOptions: {
      logging: { forward: {}, filter: { core: 'WARN', other: 'WARN' } },
      ...(config.temporalMetricsAddress === undefined
        ? {}
        : { metrics: { prometheus: { bindAddress: config.temporalMetricsAddress } } }),
    },
  });
  const pool = createPool({
    connectionString: config.databaseUrl,
    applicationName: 'agentrun-worker',
    maxConnections: 30,
    onError: (error) => logger.warn({ cause: error }, 'an idle database connection broke'),
  });
  const notifier = new Notifier(pool, logger);
  const listener = new Listener(config.databaseUrl, logger);
  const temporal = connectTemporal(config.temporal, tracing);
  metrics.process.measure({ pool, listener });
  listener.start();
  let takesTasks = () => false;
  const scraped = await serveMetrics(metrics.process.registry, config.metrics, logger, () => takesTasks());
  const connection = await NativeConnection.connect({
    address: config.temporal.address,
    tls: tlsTowards(config.temporal),
    ...(config.temporal.apiKey === undefined ? {} : { apiKey: config.temporal.apiKey }),
  });
  const { launcher, storage, fingerprintOf, ...runnerSide } = createRunnerSide(config, logger);
  const tokens = await RunnerTokens.fromFile(config.runnerKeysFile);
  const runners = createRunnerActivities({
    pool,
    notifier,
    launcher,
    storage,
    client: temporal.client,
    mintLaunchToken: async ({ runId, epoch, jobId, jobName }) => {
      const minted = await tokens.mintLaunch({ run: runId, epoch, job: jobName, jobId }, runnerLifeMs);
      return minted.token;
    },
    onLaunched: () =>
      config.runnerRetention === undefined ? Promise.resolve() : askForRunnerRetention(temporal.client),
  });
  const workers = await createWorkers({
    connection,
    namespace: config.temporal.namespace,
    identity: `${process.pid}@${hostname()}`,
    bundle: await workflowBundle(tracing),
    tracing,
    superviseSlots: config.superviseSlots,
    records: meteredRecords(
      createRecordActivities({
        pool,
        notifier,
        settings: {
          launcher: launcher.kind,
          fingerprintOf,
          runnerIdleTimeoutMs: config.runnerIdleTimeoutMs,
          runnerLifeMs,
          storage: runnerSide.newSessions,
        },
      }),
      metrics,
    ),
    runners: meteredRunners(runners, metrics),
    storage: createStorageActivities({
      pool,
      storage,
      client: temporal.client,
    }),
    retention: {
      ...createRetentionActivities({
        databaseUrl: config.databaseUrl,
        retentionDays: config.eventRetentionDays,
      }),
      ...createRunnerRetentionActivities({
        pool,
        cluster: runnerSide.cluster,
        settings: config.runnerRetention,
        stopRunner: (jobName) => runners.stopRunner({ jobName }),
      }),
    },
    supervise: meteredSupervision(createSuperviseActivities({ pool, listener, launcher }), metrics),
    webhooks: createWebhookActivities({
      pool,
      key: webhookKey,
      publicUrl: config.publicUrl,
      post: { allowedHosts: config.webhooks.allowedHosts },
      onTry: (failure) => metrics.webhookTried(failure),
      onEnd: (state) => metrics.webhookEnded(state),
      onRecorded: () => notifier.notify('agentrun_webhook', 'due'),
    }),
  });
  takesTasks = () => workers.every((each) => each.getState() === 'RUNNING');
  const sweep = new RunnerSweep({ pool, launcher, logger });
  sweep.start();
  const dispatcher = new WebhookDispatcher({
    pool,
    listener,
    client: temporal.client,
    logger,
    onUnended: (count) => metrics.webhooksUnended(count),
  });
  dispatcher.start();
  const stopping = new AbortController();
  const schedules = ensureSchedules(temporal.client, logger, stopping.signal);
  const stop = () => {
    logger.info('draining');
    stopping.abort();
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  logger.info({ taskQueues: workers.map((worker) => worker.options.taskQueue) }, 'ready');
  try {
    await Promise.all(workers.map((worker) => worker.run()));
  } finally {
    stopping.abort();
    await Promise.all([sweep.stop(), dispatcher.stop(), schedules]);
    await runnerSide.stop();
    await scraped?.close(metricsDrainMs);
    await notifier.close();
    await listener.close();
    await connection.close();
    await temporal.connection.close();
    await pool.end();
    await tracing.shutdown();
  }
  return 0;
}

async function workflowBundle(tracing: Tracing): Promise<WorkflowBundleOption> {
  const built = join(packageRoot(), 'dist', 'workflow-bundle.js');
  if (existsSync(built)) return { code: readFileSync(built, 'utf8') };
  return bundleWorkflows(tracing);
}

function fail(error: unknown, logger: Logger): number {
  logger.fatal({ cause: error }, 'the worker cannot go on');
  return 1;
}

(process.argv.includes('--check') ? checkWorker() : main()).then(
  (code) => process.exit(code),
  (error: unknown) => {
    if (error instanceof ConfigurationError) {
      process.stderr.write(`${error.message}\n`);
      process.exit(2);
    }
    process.exit(fail(error, createLogger({ name: 'worker' })));
  },
);
