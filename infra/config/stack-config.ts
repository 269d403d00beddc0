import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { type Environment, parseEnvironment } from './read-env.js';
import { secretSetting } from './secret-file.js';
import {
  dataDirMeaning,
  durationMsSetting,
  httpUrlSetting,
  localLauncherSetting,
  logLevelSetting,
  portSetting,
  providerMeanings,
  rateLimitSetting,
} from './setting-types.js';

/** The variables of `agentrun up` and the demo. */
export const stackSettings = z.object({
  AGENTRUN_DATA_DIR: z.string().default('.agentrun').describe(dataDirMeaning),
  AGENTRUN_API_PORT: portSetting
    .optional()
    .describe('Port of the API. Not set: that of the former start, else 8080, else a free one.'),
  TEMPORAL_CLI_PATH: z
    .string()
    .optional()
    .describe('The `temporal` program. Not set: PATH, cache, download, build.'),
  AGENTRUN_CLUSTER_FOLDER: z
    .string()
    .default('.cluster')
    .describe('Folder of the test cluster (`npm run cluster:up`) that `agentrun demo --kubernetes` uses.'),
  PATH: z.string().default('').describe('Where programs are looked for.'),
  XDG_CACHE_HOME: z.string().optional().describe('Folder of caches. Not set: `~/.cache`.'),

  OPENAI_API_KEY: z
    .string()
    .optional()
    .describe(
      'Key of the model provider. A secret: rather give the file. Without any, a scripted model answers.',
    ),
  OPENAI_BASE_URL: httpUrlSetting.optional().describe('As AGENTRUN_PROVIDER_BASE_URL, which wins.'),
  AGENTRUN_PROVIDER_BASE_URL: httpUrlSetting.optional().describe(providerMeanings.baseUrl),
  AGENTRUN_PROVIDER_KEY_FILE: z.string().optional().describe(providerMeanings.keyFile),
  AGENTRUN_MODEL: z.string().optional().describe(providerMeanings.model),

  // Handed on to the API and the worker, which own their meaning; checked here so that `up` itself can refuse.
  AGENTRUN_RUNNER_IDLE_TIMEOUT_MS: durationMsSetting.optional().describe('For the worker.'),
  AGENTRUN_LAUNCHER: localLauncherSetting
    .optional()
    .describe('Who starts runners: process (the worker) or external (somebody else). Not set: process.'),
  AGENTRUN_BOOT_REPO_URL: z.string().optional().describe('For the worker.'),
  AGENTRUN_SOURCE_COMMIT: z.string().optional().describe('For the API.'),
  AGENTRUN_RATE_LIMIT_PER_MINUTE: rateLimitSetting.optional().describe('For the API.'),
  AGENTRUN_CORS_ORIGINS: z.string().optional().describe('For the API.'),
  AGENTRUN_STREAM_MAX_AGE_MS: z.string().optional().describe('For the API.'),
  AGENTRUN_EVENT_RETENTION_DAYS: z.string().optional().describe('For the worker.'),
  AGENTRUN_WEBHOOK_ALLOWED_HOSTS: z.string().optional().describe('For API and worker.'),
  AGENTRUN_LOG_LEVEL: logLevelSetting.optional().describe('For API and worker; not less than info.'),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrlSetting.optional().describe('For API and worker.'),
  AGENTRUN_METRICS_PORT: portSetting
    .optional()
    .describe(
      'Port of the metrics of the API; the worker has the next, the Temporal SDK in it the one after.',
    ),
});

/** What the user says about the model provider; `provider-choice.ts` decides what follows from it. */
export interface ProviderSettings {
  /** Secret. */
  readonly key: string | undefined;
  readonly baseUrl: string | undefined;
  readonly model: string | undefined;
}

/** Settings of `agentrun up`, of the demo and of tests that start the local stack. */
export interface StackConfig {
  /** Absolute path of the data folder. */
  readonly dataDir: string;
  /** Absolute path of the folder for programs that are fetched or built once per user. */
  readonly cacheDir: string;
  readonly apiPort: number | undefined;
  readonly temporalCliPath: string | undefined;
  /** Absolute path of the test cluster's folder. */
  readonly clusterFolder: string;
  /** Folders in which programs are looked for, as in PATH. */
  readonly searchPath: readonly string[];
  readonly provider: ProviderSettings;
  /** Variables of the API and the worker that the user may set for `up`. None is a secret. */
  readonly passedOn: Environment;
}

/**
 * Reads the settings of the local stack.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function readStackConfig(env: Environment = process.env): StackConfig {
  const read = parseEnvironment(stackSettings, env);
  return {
    dataDir: resolve(read.AGENTRUN_DATA_DIR),
    cacheDir: join(read.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'agentrun'),
    apiPort: read.AGENTRUN_API_PORT,
    temporalCliPath: read.TEMPORAL_CLI_PATH,
    clusterFolder: resolve(read.AGENTRUN_CLUSTER_FOLDER),
    searchPath: read.PATH.split(':').filter((folder) => folder !== ''),
    provider: {
      key: secretSetting({
        variable: 'AGENTRUN_PROVIDER_KEY',
        value: read.OPENAI_API_KEY,
        file: read.AGENTRUN_PROVIDER_KEY_FILE,
      }),
      baseUrl: read.AGENTRUN_PROVIDER_BASE_URL ?? read.OPENAI_BASE_URL,
      model: read.AGENTRUN_MODEL,
    },
    passedOn: {
      AGENTRUN_RUNNER_IDLE_TIMEOUT_MS: read.AGENTRUN_RUNNER_IDLE_TIMEOUT_MS?.toString(),
      AGENTRUN_LAUNCHER: read.AGENTRUN_LAUNCHER,
      AGENTRUN_BOOT_REPO_URL: read.AGENTRUN_BOOT_REPO_URL,
      AGENTRUN_SOURCE_COMMIT: read.AGENTRUN_SOURCE_COMMIT,
      AGENTRUN_RATE_LIMIT_PER_MINUTE: read.AGENTRUN_RATE_LIMIT_PER_MINUTE?.toString(),
      AGENTRUN_CORS_ORIGINS: read.AGENTRUN_CORS_ORIGINS,
      AGENTRUN_STREAM_MAX_AGE_MS: read.AGENTRUN_STREAM_MAX_AGE_MS,
      AGENTRUN_EVENT_RETENTION_DAYS: read.AGENTRUN_EVENT_RETENTION_DAYS,
      AGENTRUN_WEBHOOK_ALLOWED_HOSTS: read.AGENTRUN_WEBHOOK_ALLOWED_HOSTS,
      // Not less than info, whose line `ready` is what `up` waits for; the terminal shows warnings only, whatever this is.
      AGENTRUN_LOG_LEVEL: read.AGENTRUN_LOG_LEVEL?.replace(/^(fatal|error|warn|silent)$/, 'info'),
      OTEL_EXPORTER_OTLP_ENDPOINT: read.OTEL_EXPORTER_OTLP_ENDPOINT,
      AGENTRUN_METRICS_PORT: read.AGENTRUN_METRICS_PORT?.toString(),
    },
  };
}
