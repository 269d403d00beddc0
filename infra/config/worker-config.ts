import { resolve } from 'node:path';
import { z } from 'zod';
import { type Environment, parseEnvironment } from './read-env.js';
import {
  databaseUrl,
  databaseVariables,
  type TemporalConfig,
  temporalSettings,
  temporalVariables,
} from './service-settings.js';
import { durationMsSetting, httpUrlSetting, integerSetting, logLevelSetting } from './setting-types.js';

const settings = z.object({
  ...databaseVariables,
  ...temporalVariables,
  AGENTRUN_INTERNAL_MGR_URL: httpUrlSetting.optional(),
  AGENTRUN_MGR_URL: httpUrlSetting.default('http://127.0.0.1:8080'),
  AGENTRUN_RUNNER_KEYS_FILE: z.string(),
  AGENTRUN_DATA_DIR: z.string().default('.agentrun'),
  AGENTRUN_LAUNCHER: z.enum(['process'], { error: 'expected process' }).default('process'),
  AGENTRUN_PROVIDER_BASE_URL: httpUrlSetting,
  AGENTRUN_PROVIDER_KEY_FILE: z.string(),
  AGENTRUN_MODEL: z.string(),
  AGENTRUN_RUNNER_IDLE_TIMEOUT_MS: durationMsSetting.default(300_000),
  AGENTRUN_BOOT_REPO_URL: z.string().optional(),
  AGENTRUN_WORKER_SUPERVISE_SLOTS: integerSetting({ min: 1, max: 100_000 }).default(2_000),
  AGENTRUN_LOG_LEVEL: logLevelSetting.default('info'),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrlSetting.optional(),
});

/** Settings of a worker process. */
export interface WorkerConfig {
  /** Secret. */
  readonly databaseUrl: string;
  readonly temporal: TemporalConfig;
  /** Where runners reach the API: the internal URL, else the public one (requirements.md A.0.a 3). */
  readonly managerUrl: string;
  readonly runnerKeysFile: string;
  readonly dataDir: string;
  readonly provider: { readonly baseUrl: string; readonly model: string; readonly keyFile: string };
  readonly runnerIdleTimeoutMs: number;
  readonly bootRepositoryUrl: string | undefined;
  readonly superviseSlots: number;
  readonly logLevel: string;
  readonly otlpEndpoint: string | undefined;
}

/**
 * Reads the worker's settings.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function readWorkerConfig(env: Environment = process.env): WorkerConfig {
  const read = parseEnvironment(settings, env);
  return {
    databaseUrl: databaseUrl(read),
    temporal: temporalSettings(read),
    managerUrl: read.AGENTRUN_INTERNAL_MGR_URL ?? read.AGENTRUN_MGR_URL,
    runnerKeysFile: read.AGENTRUN_RUNNER_KEYS_FILE,
    dataDir: resolve(read.AGENTRUN_DATA_DIR),
    provider: {
      baseUrl: read.AGENTRUN_PROVIDER_BASE_URL,
      model: read.AGENTRUN_MODEL,
      keyFile: read.AGENTRUN_PROVIDER_KEY_FILE,
    },
    runnerIdleTimeoutMs: read.AGENTRUN_RUNNER_IDLE_TIMEOUT_MS,
    bootRepositoryUrl: read.AGENTRUN_BOOT_REPO_URL,
    superviseSlots: read.AGENTRUN_WORKER_SUPERVISE_SLOTS,
    logLevel: read.AGENTRUN_LOG_LEVEL,
    otlpEndpoint: read.OTEL_EXPORTER_OTLP_ENDPOINT,
  };
}
