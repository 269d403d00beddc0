import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { type Environment, parseEnvironment } from './read-env.js';
import { secretSetting } from './secret-file.js';
import { durationMsSetting, httpUrlSetting, logLevelSetting, portSetting } from './setting-types.js';

const settings = z.object({
  AGENTRUN_DATA_DIR: z.string().default('.agentrun'),
  AGENTRUN_API_PORT: portSetting.optional(),
  TEMPORAL_CLI_PATH: z.string().optional(),
  PATH: z.string().default(''),
  XDG_CACHE_HOME: z.string().optional(),

  OPENAI_API_KEY: z.string().optional(),
  OPENAI_BASE_URL: httpUrlSetting.optional(),
  AGENTRUN_PROVIDER_BASE_URL: httpUrlSetting.optional(),
  AGENTRUN_PROVIDER_KEY_FILE: z.string().optional(),
  AGENTRUN_MODEL: z.string().optional(),

  // Handed on to the API and the worker, which own their meaning; checked here so that `up` itself can refuse.
  AGENTRUN_RUNNER_IDLE_TIMEOUT_MS: durationMsSetting.optional(),
  AGENTRUN_BOOT_REPO_URL: z.string().optional(),
  AGENTRUN_SOURCE_COMMIT: z.string().optional(),
  AGENTRUN_LOG_LEVEL: logLevelSetting.optional(),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrlSetting.optional(),
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
  const read = parseEnvironment(settings, env);
  return {
    dataDir: resolve(read.AGENTRUN_DATA_DIR),
    cacheDir: join(read.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'agentrun'),
    apiPort: read.AGENTRUN_API_PORT,
    temporalCliPath: read.TEMPORAL_CLI_PATH,
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
      AGENTRUN_BOOT_REPO_URL: read.AGENTRUN_BOOT_REPO_URL,
      AGENTRUN_SOURCE_COMMIT: read.AGENTRUN_SOURCE_COMMIT,
      // Not less than info, whose line `ready` is what `up` waits for; the terminal shows warnings only, whatever this is.
      AGENTRUN_LOG_LEVEL: read.AGENTRUN_LOG_LEVEL?.replace(/^(fatal|error|warn|silent)$/, 'info'),
      OTEL_EXPORTER_OTLP_ENDPOINT: read.OTEL_EXPORTER_OTLP_ENDPOINT,
    },
  };
}
