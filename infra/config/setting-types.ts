import { z } from 'zod';

/** A whole number within bounds, written in decimal digits. Say the unit in the variable's name. */
export function integerSetting(bounds: { min: number; max: number }) {
  const expected = `expected a whole number from ${bounds.min} to ${bounds.max}`;
  return z
    .string()
    .regex(/^-?\d{1,15}$/, expected)
    .transform(Number)
    .pipe(z.number().min(bounds.min, expected).max(bounds.max, expected));
}

/** A TCP port; 0 asks the kernel for a free one. */
export const portSetting = integerSetting({ min: 0, max: 65_535 });

/** A duration in milliseconds, up to 30 days. 0 is left to the caller to interpret. */
export const durationMsSetting = integerSetting({ min: 0, max: 30 * 24 * 3_600_000 });

/** Requests per minute; 0 is without a limit. */
export const rateLimitSetting = integerSetting({ min: 0, max: 10_000_000 });

/** An absolute http or https URL, kept as text without a trailing slash. */
export const httpUrlSetting = z
  .string()
  .refine(isHttpUrl, 'expected an http:// or https:// URL')
  .transform((url) => url.replace(/\/+$/, ''));

/** A Postgres connection string. Its value is a secret: it holds the password. */
export const databaseUrlSetting = z.string().regex(/^postgres(ql)?:\/\//, 'expected a postgres:// URL');

/** A `host:port` address. */
export const addressSetting = z.string().regex(/^[^\s/]+:\d{1,5}$/, 'expected host:port');

/** What `AGENTRUN_DATA_DIR` says, wherever it is read. */
export const dataDirMeaning = 'Folder of local data: database, secrets, logs, runners, sessions.';

/** What `OTEL_EXPORTER_OTLP_ENDPOINT` says, wherever it is read. */
export const otlpEndpointMeaning =
  'Base URL of an OpenTelemetry collector; `/v1/traces` is appended. Not set: no traces are sent.';

/** What the settings of the model provider say, wherever they are read. */
export const providerMeanings = {
  baseUrl: 'Base URL of the model provider.',
  keyFile: 'File that holds the key of the model provider.',
  model: 'Model that is asked for.',
} as const;

/** What `AGENTRUN_RUNNER_KEYS_FILE` says, wherever it is read. */
export const runnerKeysMeaning = 'File with the JSON Web Key Set (ES256) of the tokens of runners.';

/** What `AGENTRUN_LOG_LEVEL` says, wherever it is read. */
export const logLevelMeaning = 'Least level of log lines: trace, debug, info, warn, error, fatal or silent.';

/** pino's level names. */
export const logLevelSetting = z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
  error: 'expected fatal, error, warn, info, debug, trace or silent',
});

function isHttpUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  return ['http:', 'https:'].includes(new URL(text).protocol);
}

/** Who starts runners: the worker as local processes, or nobody here (decisions.md, Auth: launcher `external`). */
export const localLauncherSetting = z.enum(['process', 'external'], {
  error: 'expected process or external',
});
