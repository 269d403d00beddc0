import { z } from 'zod';
import { requiredSecretSetting, secretSetting } from './secret-file.js';
import { addressSetting, databaseUrlSetting } from './setting-types.js';

/** The variables of every process that uses Postgres; `databaseUrl` reads them. */
export const databaseVariables = {
  DATABASE_URL: databaseUrlSetting
    .optional()
    .describe('Postgres connection string. A secret: rather give the file.'),
  DATABASE_URL_FILE: z.string().optional().describe('File that holds the connection string.'),
};

/** The variables of every process that uses Temporal; `temporalSettings` reads them. */
export const temporalVariables = {
  TEMPORAL_ADDRESS: addressSetting
    .default('127.0.0.1:7233')
    .describe('`host:port` of the Temporal frontend.'),
  TEMPORAL_NAMESPACE: z.string().default('default').describe('Temporal namespace.'),
  TEMPORAL_TLS: z
    .stringbool({ error: 'expected true or false' })
    .optional()
    .describe('Whether to use TLS towards Temporal. Not set: with an API key yes, else no.'),
  TEMPORAL_API_KEY: z
    .string()
    .optional()
    .describe('API key of Temporal Cloud. A secret: rather give the file.'),
  TEMPORAL_API_KEY_FILE: z.string().optional().describe('File that holds the API key of Temporal Cloud.'),
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
