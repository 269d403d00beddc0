import { z } from 'zod';
import { ConfigurationError } from './read-env.js';
import { requiredSecretSetting, secretFile, secretSetting } from './secret-file.js';
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
  TEMPORAL_TLS_CERT_FILE: z
    .string()
    .optional()
    .describe(
      'File with the certificate (PEM) that is shown to a Temporal that asks for one. TLS is then on.',
    ),
  TEMPORAL_TLS_KEY_FILE: z
    .string()
    .optional()
    .describe('File with the private key (PEM) of that certificate.'),
  TEMPORAL_TLS_CA_FILE: z
    .string()
    .optional()
    .describe(
      "File with the authorities (PEM) that may have signed Temporal's certificate. Not set: those of the system.",
    ),
  TEMPORAL_TLS_SERVER_NAME: z
    .string()
    .optional()
    .describe("Name in Temporal's certificate. Not set: the host of TEMPORAL_ADDRESS."),
};

const databaseSchema = z.object(databaseVariables);
const temporalSchema = z.object(temporalVariables);

/** Certificates of a TLS connection, in the words of Temporal's SDK. */
export interface TemporalTls {
  readonly serverNameOverride?: string;
  readonly serverRootCACertificate?: Buffer;
  /** Secret. */
  readonly clientCertPair?: { readonly crt: Buffer; readonly key: Buffer };
}

/** How a process reaches Temporal. */
export interface TemporalConfig {
  readonly address: string;
  readonly namespace: string;
  /** Undefined: with an API key yes, else no. */
  readonly tls: boolean | TemporalTls | undefined;
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

/** @throws ConfigurationError when a file cannot be read, or what is set about TLS contradicts itself. */
export function temporalSettings(read: z.output<typeof temporalSchema>): TemporalConfig {
  return {
    address: read.TEMPORAL_ADDRESS,
    namespace: read.TEMPORAL_NAMESPACE,
    tls: temporalTls(read),
    apiKey: secretSetting({
      variable: 'TEMPORAL_API_KEY',
      value: read.TEMPORAL_API_KEY,
      file: read.TEMPORAL_API_KEY_FILE,
    }),
  };
}

function temporalTls(read: z.output<typeof temporalSchema>): boolean | TemporalTls | undefined {
  const {
    TEMPORAL_TLS_CERT_FILE: certificate,
    TEMPORAL_TLS_KEY_FILE: key,
    TEMPORAL_TLS_CA_FILE: authorities,
    TEMPORAL_TLS_SERVER_NAME: serverName,
  } = read;
  const asksFor = Object.entries({
    TEMPORAL_TLS_CERT_FILE: certificate,
    TEMPORAL_TLS_KEY_FILE: key,
    TEMPORAL_TLS_CA_FILE: authorities,
    TEMPORAL_TLS_SERVER_NAME: serverName,
  }).find(([, value]) => value !== undefined)?.[0];
  if (asksFor === undefined) return read.TEMPORAL_TLS;
  if (read.TEMPORAL_TLS === false)
    throw new ConfigurationError([
      { variable: 'TEMPORAL_TLS', expected: `is false, and ${asksFor} asks for TLS` },
    ]);
  return {
    ...(serverName === undefined ? {} : { serverNameOverride: serverName }),
    ...(authorities === undefined
      ? {}
      : { serverRootCACertificate: pemFile('TEMPORAL_TLS_CA_FILE', authorities) }),
    ...clientCertificate(certificate, key),
  };
}

function clientCertificate(
  certificate: string | undefined,
  key: string | undefined,
): Pick<TemporalTls, 'clientCertPair'> {
  if (certificate === undefined && key === undefined) return {};
  if (certificate !== undefined && key !== undefined)
    return {
      clientCertPair: {
        crt: pemFile('TEMPORAL_TLS_CERT_FILE', certificate),
        key: pemFile('TEMPORAL_TLS_KEY_FILE', key),
      },
    };
  const [missing, given] =
    key === undefined
      ? ['TEMPORAL_TLS_KEY_FILE', 'TEMPORAL_TLS_CERT_FILE']
      : ['TEMPORAL_TLS_CERT_FILE', 'TEMPORAL_TLS_KEY_FILE'];
  throw new ConfigurationError([{ variable: missing, expected: `is not set, and ${given} is` }]);
}

/** @throws ConfigurationError when it cannot be read or holds no PEM; its content is never in the message. */
function pemFile(variable: string, path: string): Buffer {
  const text = secretFile(variable, path);
  if (text.startsWith('-----BEGIN ')) return Buffer.from(`${text}\n`);
  throw new ConfigurationError([{ variable, expected: `the file ${path} holds no PEM` }]);
}
