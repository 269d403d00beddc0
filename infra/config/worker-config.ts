import { resolve } from 'node:path';
import { z } from 'zod';
import { managerBase, managerUrlVariables, type ResolvedBase } from './base-urls.js';
import { type KubernetesSettings, kubernetesConfig, kubernetesVariables } from './kubernetes-settings.js';
import { type MetricsAddress, metricsAddress, metricsVariables } from './metrics-settings.js';
import { ConfigurationError, type Environment, parseEnvironment } from './read-env.js';
import { type RetentionSettings, retentionVariables, runnerRetention } from './retention-settings.js';
import {
  databaseUrl,
  databaseVariables,
  type TemporalConfig,
  temporalSettings,
  temporalVariables,
} from './service-settings.js';
import {
  dataDirMeaning,
  durationMsSetting,
  httpUrlSetting,
  integerSetting,
  logLevelMeaning,
  logLevelSetting,
  otlpEndpointMeaning,
  portSetting,
  providerMeanings,
  runnerKeysMeaning,
} from './setting-types.js';
import { type WebhookSettings, webhookSettings, webhookVariables } from './webhook-settings.js';

/** The variables of a worker. */
export const workerSettings = z.object({
  ...databaseVariables,
  ...temporalVariables,
  ...managerUrlVariables,
  AGENTRUN_RUNNER_KEYS_FILE: z.string().describe(runnerKeysMeaning),
  ...webhookVariables,
  AGENTRUN_DATA_DIR: z.string().default('.agentrun').describe(dataDirMeaning),
  AGENTRUN_LAUNCHER: z
    .enum(['process', 'kubernetes', 'external'], { error: 'expected process, kubernetes or external' })
    .default('process')
    .describe(
      'Who starts runners: process (as local processes), kubernetes (as Jobs) or external (nobody here: turns wait for a claim).',
    ),
  ...kubernetesVariables,
  AGENTRUN_PROVIDER_BASE_URL: httpUrlSetting.optional().describe(providerMeanings.baseUrl),
  AGENTRUN_PROVIDER_KEY_FILE: z.string().optional().describe(providerMeanings.keyFile),
  AGENTRUN_MODEL: z.string().optional().describe(providerMeanings.model),
  AGENTRUN_RUNNER_IDLE_TIMEOUT_MS: durationMsSetting
    .default(300_000)
    .describe('How long a runner waits for the next turn of its session, in ms.'),
  AGENTRUN_BOOT_REPO_URL: z.string().optional().describe('Repository of sessions that name none.'),
  AGENTRUN_WORKER_SUPERVISE_SLOTS: integerSetting({ min: 1, max: 100_000 })
    .default(2_000)
    .describe('How many turns one worker watches at a time.'),
  AGENTRUN_EVENT_RETENTION_DAYS: integerSetting({ min: 1, max: 36_500 })
    .optional()
    .describe(
      'Events of runs that ended longer ago than so many days are dropped, a whole month at a time. Not set: they are kept for ever.',
    ),
  ...retentionVariables,
  AGENTRUN_LOG_LEVEL: logLevelSetting.default('info').describe(logLevelMeaning),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrlSetting.optional().describe(otlpEndpointMeaning),
  ...metricsVariables,
  AGENTRUN_TEMPORAL_METRICS_PORT: portSetting
    .optional()
    .describe("Port of the Temporal SDK's own metrics, on AGENTRUN_METRICS_HOST. Not set: none."),
});

/** The model provider of runners that are local processes. */
export interface ProviderConfig {
  readonly baseUrl: string;
  readonly model: string;
  readonly keyFile: string;
}

/** Who starts runners, with what it needs for that. In a cluster the provider's key is in a Secret. */
export type RunnerSettings =
  | { readonly launcher: 'external' }
  | { readonly launcher: 'process'; readonly provider: ProviderConfig }
  | {
      readonly launcher: 'kubernetes';
      readonly provider: Omit<ProviderConfig, 'keyFile'>;
      readonly cluster: KubernetesSettings;
    };

/** Settings of a worker process. */
export interface WorkerConfig {
  /** Secret. */
  readonly databaseUrl: string;
  readonly temporal: TemporalConfig;
  /** Where runners reach the API: the internal URL, else the public one (requirements.md A.0.a 3). */
  readonly manager: ResolvedBase;
  readonly runnerKeysFile: string;
  readonly webhooks: WebhookSettings;
  /** What absolute links are made from; undefined: nobody has said it. */
  readonly publicUrl: string | undefined;
  readonly dataDir: string;
  readonly runners: RunnerSettings;
  readonly runnerIdleTimeoutMs: number;
  readonly bootRepositoryUrl: string | undefined;
  readonly superviseSlots: number;
  /** Undefined: events are kept for ever. */
  readonly eventRetentionDays: number | undefined;
  /** Undefined: Jobs of runners are kept. */
  readonly runnerRetention: RetentionSettings | undefined;
  readonly logLevel: string;
  readonly otlpEndpoint: string | undefined;
  readonly metrics: MetricsAddress;
  /** `host:port` of the Temporal SDK's own metrics; undefined: none. */
  readonly temporalMetricsAddress: string | undefined;
}

/**
 * Reads the worker's settings.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function readWorkerConfig(env: Environment = process.env): WorkerConfig {
  const read = parseEnvironment(workerSettings, env);
  return {
    databaseUrl: databaseUrl(read),
    temporal: temporalSettings(read),
    manager: managerBase(read),
    runnerKeysFile: read.AGENTRUN_RUNNER_KEYS_FILE,
    webhooks: webhookSettings(read),
    publicUrl: read.AGENTRUN_MGR_URL,
    dataDir: resolve(read.AGENTRUN_DATA_DIR),
    runners: runnerSettings(read),
    runnerIdleTimeoutMs: read.AGENTRUN_RUNNER_IDLE_TIMEOUT_MS,
    bootRepositoryUrl: read.AGENTRUN_BOOT_REPO_URL,
    superviseSlots: read.AGENTRUN_WORKER_SUPERVISE_SLOTS,
    eventRetentionDays: read.AGENTRUN_EVENT_RETENTION_DAYS,
    runnerRetention: runnerRetention(read),
    logLevel: read.AGENTRUN_LOG_LEVEL,
    otlpEndpoint: read.OTEL_EXPORTER_OTLP_ENDPOINT,
    metrics: metricsAddress(read),
    temporalMetricsAddress:
      read.AGENTRUN_TEMPORAL_METRICS_PORT === undefined
        ? undefined
        : `${read.AGENTRUN_METRICS_HOST}:${read.AGENTRUN_TEMPORAL_METRICS_PORT}`,
  };
}

/** @throws ConfigurationError when a runner could not be told its provider, or there is no image of it. */
function runnerSettings(read: z.output<typeof workerSettings>): RunnerSettings {
  const {
    AGENTRUN_LAUNCHER: launcher,
    AGENTRUN_PROVIDER_BASE_URL: baseUrl,
    AGENTRUN_MODEL: model,
    AGENTRUN_PROVIDER_KEY_FILE: keyFile,
    AGENTRUN_RUNNER_IMAGE: image,
  } = read;
  if (launcher === 'external') return { launcher };
  const provider = { AGENTRUN_PROVIDER_BASE_URL: baseUrl, AGENTRUN_MODEL: model };
  if (launcher === 'kubernetes') {
    if (baseUrl !== undefined && model !== undefined && image !== undefined)
      return { launcher, provider: { baseUrl, model }, cluster: kubernetesConfig(read, image) };
    throw missing({ ...provider, AGENTRUN_RUNNER_IMAGE: image }, 'needed with AGENTRUN_LAUNCHER=kubernetes');
  }
  if (baseUrl !== undefined && model !== undefined && keyFile !== undefined)
    return { launcher, provider: { baseUrl, model, keyFile } };
  throw missing(
    {
      AGENTRUN_PROVIDER_BASE_URL: baseUrl,
      AGENTRUN_PROVIDER_KEY_FILE: keyFile,
      AGENTRUN_MODEL: model,
    },
    'needed unless AGENTRUN_LAUNCHER=external',
  );
}

const missing = (values: Readonly<Record<string, string | undefined>>, why: string): ConfigurationError =>
  new ConfigurationError(
    Object.entries(values)
      .filter(([, value]) => value === undefined)
      .map(([variable]) => ({ variable, expected: `is not set (${why})` })),
  );
