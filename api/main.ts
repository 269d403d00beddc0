import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { readApiConfig } from '../infra/config/api-config.js';
import { ConfigurationError } from '../infra/config/read-env.js';
import { startWarnings } from '../infra/config/start-warnings.js';
import { OidcIssuer } from '../infra/oidc/oidc-issuer.js';
import { createLogger, type Logger } from '../infra/telemetry/logger.js';
import { serveMetrics } from '../infra/telemetry/metrics-server.js';
import { createRedactor } from '../infra/telemetry/redaction.js';
import { startTracing, type Tracing } from '../infra/telemetry/tracing.js';
import { connectTemporal, type TemporalConnection } from '../infra/temporal/client.js';
import { RunnerTokens } from '../infra/tokens/runner-tokens.js';
import { readWebhookKey } from '../infra/webhooks/webhook-key.js';
import { Listener } from '../store/listener.js';
import { Notifier } from '../store/notifier.js';
import { createPool } from '../store/pool.js';
import { createApp } from './app.js';
import { auditsWritten } from './audit.js';
import { Authenticator } from './auth.js';
import { ApiTokens } from './auth-tokens.js';
import { checkApi } from './check.js';
import { ApiMetrics } from './metrics.js';
import { createGuessLimit, createRateLimits } from './rate-limit.js';
import { serve } from './serve.js';
import { ContractSpans } from './spans.js';
import { createWorkflowGateway } from './workflow-gateway.js';

const drainMs = 5_000;
const metricsDrainMs = 500;
/** What stops after the server: bounded, so that an unreachable Postgres or collector cannot hold the process. */
const closeMs = 3_000;

/** The API process. Exit codes: 0 after SIGTERM or SIGINT, 1 when it cannot start, 2 on wrong configuration. */
async function main(): Promise<void> {
  const config = readApiConfig();
  const redactor = createRedactor([config.databaseUrl, config.temporal.apiKey]);
  const logger = createLogger({ name: 'agentrun-api', level: config.logLevel, redactor });
  const apiTokens = new ApiTokens({
    fixed: config.apiTokens,
    path: config.apiTokensFile,
    logger,
    onTokens: (tokens) => {
      for (const setting of tokens) if ('token' in setting) redactor.add(setting.token);
    },
  });
  const runnerTokens = await readRunnerKeys(config.runnerKeysFile);
  const webhookKey = readWebhookKey(config.webhooks.keyFile, (key) => redactor.add(key));
  const metrics = new ApiMetrics();
  const onFailure = metrics.process.onTelemetryFailure;
  const tracing = startTracing({ serviceName: 'agentrun-api', otlpEndpoint: config.otlpEndpoint, onFailure });
  const temporal = connectTemporal(config.temporal, tracing);
  const pool = createPool({
    connectionString: config.databaseUrl,
    applicationName: 'agentrun-api',
    onError: (error) => logger.warn({ cause: error }, 'an idle database connection broke'),
  });
  const listener = new Listener(config.databaseUrl, logger);
  const notifier = new Notifier(pool, logger);
  const leaving = new AbortController();
  const stopping = new AbortController();
  const app = createApp({
    pool,
    listener,
    notifier,
    runnerTokens,
    authenticator: new Authenticator({
      apiTokens,
      runnerTokens,
      oidc: config.oidc === undefined ? undefined : new OidcIssuer(config.oidc, { logger }),
      guesses: createGuessLimit(config.unknownTokensPerMinute),
    }),
    rateLimits: createRateLimits(config.rateLimitPerMinute),
    trustedProxies: config.trustedProxies,
    gateway: createWorkflowGateway(temporal.client, config.temporal.namespace),
    logger,
    metrics,
    redactor,
    spans: new ContractSpans({ redactor, onFailure }),
    onDoubledPrefix: (route) => metrics.prefixDoubled(route),
    sourceCommit: config.sourceCommit,
    storage: config.storage,
    pathPrefix: config.pathPrefix,
    publicUrl: config.publicUrl,
    webhooks: { key: webhookKey, allowedHosts: config.webhooks.allowedHosts },
    corsOrigins: config.corsOrigins,
    streamLimits: config.streams,
    leaving: leaving.signal,
    stopping: stopping.signal,
  });
  metrics.process.measure({ pool, listener });
  for (const warning of startWarnings()) logger.warn(warning, 'a setting has no effect, or is wrong');
  listener.start();
  const scraped = await serveMetrics(metrics.process.registry, config.metrics, logger);
  const serving = await serve(app, config);
  logger.info(
    { host: config.host, port: serving.port, openToAll: apiTokens.isUnset && config.oidc === undefined },
    'ready',
  );

  const signal = await stopSignal();
  logger.info({ signal, delayMs: config.shutdownDelayMs }, 'stopping');
  leaving.abort();
  await sleep(config.shutdownDelayMs);
  stopping.abort();
  await serving.close(drainMs);
  await scraped?.close(metricsDrainMs);
  await withinLimit(notifier.close(), logger, 'sending the last wake-ups');
  await withinLimit(auditsWritten(pool), logger, 'ending the audit log');
  await withinLimit(Promise.all([listener.close(), pool.end()]), logger, 'closing the database connections');
  await withinLimit(closeOutside(temporal, tracing), logger, 'closing Temporal and tracing');
  logger.info('stopped');
}

async function readRunnerKeys(path: string): Promise<RunnerTokens> {
  try {
    return await RunnerTokens.fromFile(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'it cannot be read';
    throw new ConfigurationError([{ variable: 'AGENTRUN_RUNNER_KEYS_FILE', expected: reason }]);
  }
}

async function stopSignal(): Promise<string> {
  const waiting = new AbortController();
  const signals = ['SIGTERM', 'SIGINT'].map(async (name) => {
    await once(process, name, { signal: waiting.signal });
    return name;
  });
  const first = await Promise.race(signals);
  waiting.abort();
  await Promise.allSettled(signals);
  return first;
}

async function closeOutside(temporal: TemporalConnection, tracing: Tracing): Promise<void> {
  await Promise.all([temporal.connection.close(), tracing.shutdown()]);
}

async function withinLimit(work: Promise<unknown>, logger: Logger, what: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => {
      logger.warn({ limitMs: closeMs }, `${what} takes too long; left behind`);
      resolve();
    }, closeMs);
  });
  try {
    await Promise.race([work, late]);
  } catch (error) {
    logger.warn({ cause: error }, `${what} failed`);
  } finally {
    clearTimeout(timer);
  }
}

try {
  if (process.argv.includes('--check')) process.exit(await checkApi());
  await main();
  process.exit(0);
} catch (error) {
  const isWrongConfiguration = error instanceof ConfigurationError;
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(isWrongConfiguration ? 2 : 1);
}
