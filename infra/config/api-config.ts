import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type TokenScope, tokenScopes } from '../../contract/route-contract.js';
import { ConfigurationError, type Environment, parseEnvironment } from './read-env.js';
import { secretSetting } from './secret-file.js';
import {
  databaseUrl,
  databaseVariables,
  type TemporalConfig,
  temporalSettings,
  temporalVariables,
} from './service-settings.js';
import { httpUrlSetting, logLevelSetting, portSetting } from './setting-types.js';

const settings = z.object({
  ...databaseVariables,
  ...temporalVariables,
  AGENTRUN_API_HOST: z.string().default('127.0.0.1'),
  AGENTRUN_API_PORT: portSetting.default(8080),
  AGENTRUN_API_TOKEN: z.string().optional(),
  AGENTRUN_API_TOKEN_FILE: z.string().optional(),
  AGENTRUN_API_TOKENS_FILE: z.string().optional(),
  AGENTRUN_RUNNER_KEYS_FILE: z.string({ error: 'expected the path of a JSON Web Key Set' }),
  AGENTRUN_MGR_URL: httpUrlSetting.optional(),
  AGENTRUN_INTERNAL_MGR_URL: httpUrlSetting.optional(),
  AGENTRUN_PATH_PREFIX: z
    .string()
    .regex(/^\/[A-Za-z0-9_./~-]*$/, 'expected a path such as /agentrun')
    .optional(),
  AGENTRUN_SOURCE_COMMIT: z.string().default('unknown'),
  AGENTRUN_LOG_LEVEL: logLevelSetting.default('info'),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrlSetting.optional(),
});

/** One bearer token of the API (decisions.md, Auth). Without a tenant it sees every tenant. */
export interface ApiTokenSetting {
  readonly name: string;
  /** Secret. */
  readonly token: string;
  readonly scopes: readonly TokenScope[];
  readonly tenantId: string | undefined;
}

/** Content of `AGENTRUN_API_TOKENS_FILE`. */
const tokensFileSchema = z.array(
  z.strictObject({
    name: z.string().min(1),
    token: z.string().min(16, 'expected at least 16 characters'),
    scopes: z.array(z.enum(tokenScopes)).min(1),
    tenantId: z.string().min(1).optional(),
  }),
);

/** Settings of the API process. */
export interface ApiConfig {
  /** Secret. */
  readonly databaseUrl: string;
  readonly temporal: TemporalConfig;
  readonly host: string;
  readonly port: number;
  readonly apiTokens: readonly ApiTokenSetting[];
  readonly runnerKeysFile: string;
  /** Without a trailing slash; empty when the API is served at the root. */
  readonly pathPrefix: string;
  readonly sourceCommit: string;
  readonly logLevel: string;
  readonly otlpEndpoint: string | undefined;
}

/**
 * Reads the settings of the API.
 *
 * @throws ConfigurationError naming every wrong variable; also when no token is configured and the API would be reachable from outside.
 */
export function readApiConfig(env: Environment = process.env): ApiConfig {
  const read = parseEnvironment(settings, env);
  const apiTokens = readApiTokens(read);
  if (apiTokens.length === 0 && !isLoopback(read.AGENTRUN_API_HOST)) {
    throw new ConfigurationError([
      {
        variable: 'AGENTRUN_API_TOKEN',
        expected: `is not set, and AGENTRUN_API_HOST ${read.AGENTRUN_API_HOST} is not loopback`,
      },
    ]);
  }
  const publicPath = read.AGENTRUN_MGR_URL === undefined ? '' : new URL(read.AGENTRUN_MGR_URL).pathname;
  return {
    databaseUrl: databaseUrl(read),
    temporal: temporalSettings(read),
    host: read.AGENTRUN_API_HOST,
    port: read.AGENTRUN_API_PORT,
    apiTokens,
    runnerKeysFile: read.AGENTRUN_RUNNER_KEYS_FILE,
    pathPrefix: (read.AGENTRUN_PATH_PREFIX ?? publicPath).replace(/\/+$/, ''),
    sourceCommit: read.AGENTRUN_SOURCE_COMMIT,
    logLevel: read.AGENTRUN_LOG_LEVEL,
    otlpEndpoint: read.OTEL_EXPORTER_OTLP_ENDPOINT,
  };
}

function readApiTokens(read: z.output<typeof settings>): ApiTokenSetting[] {
  const single = secretSetting({
    variable: 'AGENTRUN_API_TOKEN',
    value: read.AGENTRUN_API_TOKEN,
    file: read.AGENTRUN_API_TOKEN_FILE,
  });
  const tokens: ApiTokenSetting[] =
    single === undefined ? [] : [{ name: 'default', token: single, scopes: ['admin'], tenantId: undefined }];
  if (read.AGENTRUN_API_TOKENS_FILE === undefined) return tokens;
  const wrong = (expected: string) =>
    new ConfigurationError([{ variable: 'AGENTRUN_API_TOKENS_FILE', expected }]);
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(read.AGENTRUN_API_TOKENS_FILE, 'utf8'));
  } catch {
    throw wrong(`the file ${read.AGENTRUN_API_TOKENS_FILE} cannot be read as JSON`);
  }
  const parsed = tokensFileSchema.safeParse(content);
  if (!parsed.success) {
    throw wrong(
      parsed.error.issues.map((issue) => `${issue.path.map(String).join('.')}: ${issue.message}`).join('; '),
    );
  }
  return [...tokens, ...parsed.data.map((token) => ({ ...token, tenantId: token.tenantId }))];
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}
