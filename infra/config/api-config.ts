import { z } from 'zod';
import {
  managerBase,
  managerUrlVariables,
  pathPrefix,
  pathPrefixSetting,
  type ResolvedBase,
} from './base-urls.js';
import { originsSetting } from './cors-setting.js';
import { clusterVariables, type StoragePlace, storagePlace } from './kubernetes-settings.js';
import { type MetricsAddress, metricsAddress, metricsVariables } from './metrics-settings.js';
import { isLoopbackName, isTrustworthyUrl, type OidcSettings } from './oidc-settings.js';
import { ConfigurationError, type Environment, parseEnvironment } from './read-env.js';
import { secretSetting } from './secret-file.js';
import {
  databaseUrl,
  databaseVariables,
  type TemporalConfig,
  temporalSettings,
  temporalVariables,
} from './service-settings.js';
import {
  httpUrlSetting,
  integerSetting,
  logLevelMeaning,
  logLevelSetting,
  otlpEndpointMeaning,
  portSetting,
  rateLimitSetting,
  runnerKeysMeaning,
} from './setting-types.js';
import { type StreamSettings, streamSettings, streamVariables } from './stream-settings.js';
import { type ApiTokenSetting, clearTokenSchema } from './tokens-file.js';
import { type WebhookSettings, webhookSettings, webhookVariables } from './webhook-settings.js';

/** The variables of the API. */
export const apiSettings = z.object({
  ...databaseVariables,
  ...temporalVariables,
  AGENTRUN_API_HOST: z
    .string()
    .default('127.0.0.1')
    .describe(
      'Address to listen on. One that is not loopback asks for a token, as do trusted proxies and a public URL that is not loopback.',
    ),
  AGENTRUN_API_PORT: portSetting.default(8080).describe('Port to listen on; 0 asks for a free one.'),
  AGENTRUN_API_TOKEN: z
    .string()
    .optional()
    .describe(
      'One bearer token with every scope, of at least 16 characters of ASCII without blanks. A secret: rather give a file.',
    ),
  AGENTRUN_API_TOKEN_FILE: z.string().optional().describe('File that holds this token.'),
  AGENTRUN_API_TOKENS_FILE: z
    .string()
    .optional()
    .describe(
      'JSON file with a list of bearer tokens: name, token or tokenSha256 (hex), scopes, optional tenantId. Read again when it changes.',
    ),
  AGENTRUN_OIDC_ISSUER: z
    .string()
    .refine(isTrustworthyUrl, 'expected an https:// URL, or http:// on loopback')
    .optional()
    .describe('OpenID Connect issuer whose access tokens are let in, exactly as in their `iss`.'),
  AGENTRUN_OIDC_AUDIENCE: z
    .string()
    .optional()
    .describe('What the `aud` of those tokens must hold. Needed with AGENTRUN_OIDC_ISSUER.'),
  AGENTRUN_OIDC_SCOPE_CLAIM: z
    .string()
    .default('scope')
    .describe(
      'Claim with their scopes, a text of words or a list: `agentrun:read`, `agentrun:operate`, `agentrun:admin`.',
    ),
  AGENTRUN_OIDC_TENANT_CLAIM: z
    .string()
    .optional()
    .describe(
      'Claim with their tenant, which each of them must have. Not set: only tokens of scope `agentrun:admin` are let in, for every tenant.',
    ),
  AGENTRUN_OIDC_TOKEN_TYPE: z
    .string()
    .optional()
    .describe(
      'What their `typ` must be, such as `at+jwt` (RFC 9068), so that no ID token is taken for an access token. Not set: any.',
    ),
  AGENTRUN_RATE_LIMIT_PER_MINUTE: rateLimitSetting
    .default(6_000)
    .describe(
      'Requests per minute of one caller, counted by each API process; 0 is without a limit. Routes of runners have ten times as many, and live text as many again.',
    ),
  AGENTRUN_UNKNOWN_TOKENS_PER_MINUTE: rateLimitSetting
    .default(600)
    .describe(
      'Unknown tokens per minute of one address before those are told to wait; 0 is without a limit. Known tokens pass all the same.',
    ),
  ...streamVariables,
  AGENTRUN_CORS_ORIGINS: originsSetting
    .optional()
    .describe(
      'Origins whose pages may use the API from a browser, with a token, divided by commas. Not set: none.',
    ),
  AGENTRUN_SHUTDOWN_DELAY_MS: integerSetting({ min: 0, max: 600_000 })
    .default(0)
    .describe(
      'How long the API serves on after SIGTERM, in milliseconds, not ready any more, so that load balancers notice before streams are told to go elsewhere.',
    ),
  AGENTRUN_TRUSTED_PROXIES: integerSetting({ min: 0, max: 10 })
    .default(0)
    .describe(
      'How many proxies stand in front of the API: from so many entries of `X-Forwarded-For` the address of a client is taken.',
    ),
  AGENTRUN_RUNNER_KEYS_FILE: z
    .string({ error: 'expected the path of a JSON Web Key Set' })
    .describe(runnerKeysMeaning),
  ...webhookVariables,
  ...managerUrlVariables,
  ...clusterVariables,
  AGENTRUN_PATH_PREFIX: pathPrefixSetting
    .optional()
    .describe(
      'Path that proxies may leave in front of the routes; `/` switches it off. Not set: the path of AGENTRUN_MGR_URL.',
    ),
  AGENTRUN_SOURCE_COMMIT: z
    .string()
    .default('unknown')
    .describe('Commit that this build was made of, for health.'),
  AGENTRUN_LOG_LEVEL: logLevelSetting.default('info').describe(logLevelMeaning),
  OTEL_EXPORTER_OTLP_ENDPOINT: httpUrlSetting.optional().describe(otlpEndpointMeaning),
  ...metricsVariables,
});

/** Settings of the API process. */
export interface ApiConfig {
  /** Secret. */
  readonly databaseUrl: string;
  readonly temporal: TemporalConfig;
  readonly host: string;
  readonly port: number;
  readonly apiTokens: readonly ApiTokenSetting[];
  /** Holds more of them; undefined: there is none. */
  readonly apiTokensFile: string | undefined;
  readonly oidc: OidcSettings | undefined;
  /** Requests per minute of one caller; 0 is without a limit. */
  readonly rateLimitPerMinute: number;
  /** Unknown tokens per minute of one address; 0 is without a limit. */
  readonly unknownTokensPerMinute: number;
  readonly streams: StreamSettings;
  /** Origins whose pages may use the API from a browser. */
  readonly corsOrigins: readonly string[];
  readonly shutdownDelayMs: number;
  readonly trustedProxies: number;
  readonly runnerKeysFile: string;
  readonly webhooks: WebhookSettings;
  /** What absolute links are made from; undefined: nobody has said it. */
  readonly publicUrl: string | undefined;
  /** Where runners and other parts beside it reach the API. */
  readonly internalBase: ResolvedBase;
  /** Without a trailing slash; empty when the API is served at the root. */
  readonly pathPrefix: string;
  readonly sourceCommit: string;
  readonly storage: StoragePlace;
  readonly logLevel: string;
  readonly otlpEndpoint: string | undefined;
  readonly metrics: MetricsAddress;
}

/**
 * Reads the settings of the API.
 *
 * @throws ConfigurationError naming every wrong variable; also when no token is configured and others than this machine could reach the API.
 */
export function readApiConfig(env: Environment = process.env): ApiConfig {
  const read = parseEnvironment(apiSettings, env);
  const apiTokens = readApiTokens(read);
  const oidc = readOidc(read);
  const asksForToken =
    apiTokens.length > 0 || read.AGENTRUN_API_TOKENS_FILE !== undefined || oidc !== undefined;
  const exposure = asksForToken ? undefined : exposureOf(read);
  if (exposure !== undefined) {
    throw new ConfigurationError([
      { variable: 'AGENTRUN_API_TOKEN', expected: `is not set, and ${exposure}` },
    ]);
  }
  return {
    databaseUrl: databaseUrl(read),
    temporal: temporalSettings(read),
    host: read.AGENTRUN_API_HOST,
    port: read.AGENTRUN_API_PORT,
    apiTokens,
    apiTokensFile: read.AGENTRUN_API_TOKENS_FILE,
    oidc,
    rateLimitPerMinute: read.AGENTRUN_RATE_LIMIT_PER_MINUTE,
    unknownTokensPerMinute: read.AGENTRUN_UNKNOWN_TOKENS_PER_MINUTE,
    streams: streamSettings(read),
    corsOrigins: read.AGENTRUN_CORS_ORIGINS ?? [],
    shutdownDelayMs: read.AGENTRUN_SHUTDOWN_DELAY_MS,
    trustedProxies: read.AGENTRUN_TRUSTED_PROXIES,
    runnerKeysFile: read.AGENTRUN_RUNNER_KEYS_FILE,
    webhooks: webhookSettings(read),
    publicUrl: read.AGENTRUN_MGR_URL,
    internalBase: managerBase(read),
    pathPrefix: pathPrefix(read.AGENTRUN_PATH_PREFIX, read.AGENTRUN_MGR_URL),
    sourceCommit: read.AGENTRUN_SOURCE_COMMIT,
    storage: storagePlace(read),
    logLevel: read.AGENTRUN_LOG_LEVEL,
    otlpEndpoint: read.OTEL_EXPORTER_OTLP_ENDPOINT,
    metrics: metricsAddress(read),
  };
}

/** The token of `AGENTRUN_API_TOKEN`. Those of the file are read by the API itself, again and again. */
function readApiTokens(read: z.output<typeof apiSettings>): ApiTokenSetting[] {
  const token = secretSetting({
    variable: 'AGENTRUN_API_TOKEN',
    value: read.AGENTRUN_API_TOKEN,
    file: read.AGENTRUN_API_TOKEN_FILE,
  });
  const variable = read.AGENTRUN_API_TOKEN === undefined ? 'AGENTRUN_API_TOKEN_FILE' : 'AGENTRUN_API_TOKEN';
  const problem = clearTokenSchema.safeParse(token).error?.issues[0]?.message;
  if (token !== undefined && problem !== undefined)
    throw new ConfigurationError([{ variable, expected: problem }]);
  return token === undefined ? [] : [{ name: 'default', token, scopes: ['admin'], tenantId: undefined }];
}

function readOidc(read: z.output<typeof apiSettings>): OidcSettings | undefined {
  const issuer = read.AGENTRUN_OIDC_ISSUER;
  const audience = read.AGENTRUN_OIDC_AUDIENCE;
  if (issuer === undefined) return undefined;
  // Without one, a token that the issuer gave for any other service would be good here.
  if (audience === undefined) {
    throw new ConfigurationError([
      { variable: 'AGENTRUN_OIDC_AUDIENCE', expected: 'is not set, and AGENTRUN_OIDC_ISSUER is' },
    ]);
  }
  return {
    issuer,
    audience,
    scopeClaim: read.AGENTRUN_OIDC_SCOPE_CLAIM,
    tenantClaim: read.AGENTRUN_OIDC_TENANT_CLAIM,
    tokenType: read.AGENTRUN_OIDC_TOKEN_TYPE,
  };
}

/** By what others than this machine reach the API; undefined: by nothing that the settings say. */
function exposureOf(read: z.output<typeof apiSettings>): string | undefined {
  const { AGENTRUN_API_HOST: host, AGENTRUN_MGR_URL: publicUrl } = read;
  if (!isLoopbackName(host)) return `AGENTRUN_API_HOST ${host} is not loopback`;
  if (read.AGENTRUN_TRUSTED_PROXIES > 0) return 'AGENTRUN_TRUSTED_PROXIES says that a proxy is in front';
  if (publicUrl !== undefined && !isLoopbackName(new URL(publicUrl).hostname))
    return 'the host of AGENTRUN_MGR_URL is not loopback';
  return undefined;
}
