import { z } from 'zod';
import { requiredSecretSetting, secretSetting } from './secret-file.js';
import { addressSetting, databaseUrlSetting } from './setting-types.js';

/** The variables of every process that uses Postgres; `databaseUrl` reads them. */
export const databaseVariables = {
  DATABASE_URL: databaseUrlSetting.optional(),
  DATABASE_URL_FILE: z.string().optional(),
};

/** The variables of every process that uses Temporal; `temporalSettings` reads them. */
export const temporalVariables = {
  TEMPORAL_ADDRESS: addressSetting.default('127.0.0.1:7233'),
  TEMPORAL_NAMESPACE: z.string().default('default'),
  TEMPORAL_TLS: z.stringbool({ error: 'expected true or false' }).optional(),
  TEMPORAL_API_KEY: z.string().optional(),
  TEMPORAL_API_KEY_FILE: z.string().optional(),
};

const databaseSchema = z.object(databaseVariables);
const temporalSchema = z.object(temporalVariables);

/** How a process reaches Temporal. */
export interface TemporalConfig {
  readonly address: string;
  readonly namespace: string;
  readonly tls: boolean | undefined;
  /** Secret. */
  readonly apiKey: string | undefined;
}

/** The Postgres connection string, which is a secret. @throws ConfigurationError when it is not set. */
export function databaseUrl(read: z.output<typeof databaseSchema>): string {
  return requiredSecretSetting({
    variable: 'DATABASE_URL',
    value: read.DATABASE_URL,
    file: read.DATABASE_URL_FILE,
  });
}

/** @throws ConfigurationError when the key's file cannot be read. */
export function temporalSettings(read: z.output<typeof temporalSchema>): TemporalConfig {
  return {
    address: read.TEMPORAL_ADDRESS,
    namespace: read.TEMPORAL_NAMESPACE,
    tls: read.TEMPORAL_TLS,
    apiKey: secretSetting({
      variable: 'TEMPORAL_API_KEY',
      value: read.TEMPORAL_API_KEY,
      file: read.TEMPORAL_API_KEY_FILE,
    }),
  };
}
