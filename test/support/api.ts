import { generateKeyPairSync } from 'node:crypto';
import { z } from 'zod';
import { createApp } from '../../api/app.js';
import { Authenticator } from '../../api/auth.js';
import { ApiTokens } from '../../api/auth-tokens.js';
import type { ApiDeps } from '../../api/deps.js';
import { ApiMetrics } from '../../api/metrics.js';
import { createGuessLimit, createRateLimits } from '../../api/rate-limit.js';
import { serve } from '../../api/serve.js';
import { ContractSpans } from '../../api/spans.js';
import type { StreamLimits } from '../../api/streams/stream-source.js';
import type { WorkflowGateway } from '../../api/workflow-gateway.js';
import type { DriverCapabilities } from '../../contract/runners.js';
import { streamSettings, streamVariables } from '../../infra/config/stream-settings.js';
import type { ApiTokenSetting, ClearApiToken } from '../../infra/config/tokens-file.js';
import type { OidcIssuer } from '../../infra/oidc/oidc-issuer.js';
import { createLogger, type Logger } from '../../infra/telemetry/logger.js';
import { createRedactor } from '../../infra/telemetry/redaction.js';
import { RunnerTokens } from '../../infra/tokens/runner-tokens.js';
import { WebhookKey } from '../../infra/webhooks/webhook-key.js';
import { acceptMessage } from '../../store/accept-message.js';
import { adoptLauncher } from '../../store/adopt-launcher.js';
import type { AttemptSettings } from '../../store/attempts.js';
import { Listener } from '../../store/listener.js';
import { Notifier } from '../../store/notifier.js';
import type { Pool } from '../../store/pool.js';
import { dispatchTask } from '../../store/queue-task-steps.js';
import { directories, type StoragePlace } from '../../store/storage-place.js';
import { requestCancel } from '../../store/turn-steps.js';
import { fakeStorageGateway } from './fake-storage.js';
import type { TestDatabase } from './postgres.js';

export const adminToken = 'agr_admin_0123456789abcdef';
export const apiTokens: readonly ClearApiToken[] = [
  { name: 'admin', token: adminToken, scopes: ['admin'], tenantId: undefined },
  { name: 'reader', token: 'agr_reader_0123456789abcdef', scopes: ['read'], tenantId: undefined },
  { name: 'acme', token: 'agr_acme_0123456789abcdef', scopes: ['operate'], tenantId: 'acme' },
];

export const attemptSettings: AttemptSettings = {
  launcher: 'process',
  fingerprintOf: (backendProfile) => `fingerprint-${backendProfile}`,
  runnerIdleTimeoutMs: 300_000,
  runnerLifeMs: 86_400_000,
};

export const capabilities: DriverCapabilities = {
  steer: true,
  interrupt: true,
  resume: 'noReplay',
  approvals: false,
  usage: 'total',
  messageIds: true,
  diff: true,
};

/** Those of a process without settings. */
const streamLimits = streamSettings(z.object(streamVariables).parse({}));

/** A key set with one private ES256 key. */
export function newKeySet(kid: string): { keys: Record<string, unknown>[] } {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { keys: [{ ...privateKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }] };
}

/**
 * Stands in for Temporal: the decisions are those of the real step, in the real transaction; only the workflow around it is missing.
 */
export function fakeGateway(pool: Pool, settings: AttemptSettings = attemptSettings): WorkflowGateway {
  let last: Promise<unknown> = Promise.resolve();
  return {
    // One after another, as a session's workflow does.
    send: async (_session, commandId) => {
      const accepted = last.then(() => acceptMessage(pool, settings, commandId));
      last = accepted.catch(() => undefined);
      return (await accepted).decision;
    },
    launch: (_session, runId) => adoptLauncher(pool, settings, runId),
    cancelRun: async (runId, { reason, deadlineMs }) => {
      const found = await pool.query('select 1 from attempts where run_id = $1', [runId]);
      return found.rows.length === 0
        ? 'no-workflow'
        : { runId, ...(await requestCancel(pool, runId, reason, deadlineMs ?? null)) };
    },
    ...fakeStorageGateway(pool),
    startQueueTask: () => Promise.resolve(),
    cancelTask: ({ taskId }) => Promise.resolve({ taskId, state: 'cancelled', requested: true, runId: null }),
    dispatch: async ({ taskId }) => {
      const { commandId } = await dispatchTask(pool, taskId, 'no-workflow');
      return { taskId, runId: null, commandId };
    },
    check: () => Promise.resolve(),
  };
}

const envelopeSchema = z.looseObject({ ok: z.boolean(), traceId: z.string() });

/** An answer of the API, with its envelope. */
export interface ApiAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The envelope. */
  readonly body: z.infer<typeof envelopeSchema> & Record<string, unknown>;
}

/** A running API over a test database. */
export interface TestApi {
  readonly url: string;
  readonly deps: ApiDeps;
  /** Key set of its runner tokens, for another API process that takes the same ones. */
  readonly keySet: ReturnType<typeof newKeySet>;
  /** With a body object: JSON; a string or bytes are sent as they are. Token default: admin; null sends none. Of a stream the text ends with `caught-up`. */
  call(method: string, path: string, options?: CallOptions): Promise<ApiAnswer>;
  /** The `data` of an answer that must be 200. */
  data<Schema extends z.ZodType>(
    schema: Schema,
    method: string,
    path: string,
    options?: CallOptions,
  ): Promise<z.output<Schema>>;
  /** As the process does first when it is told to end: it is not ready any more. */
  leave(): void;
  stop(): Promise<void>;
}

export interface CallOptions {
  readonly body?: unknown;
  readonly token?: string | null;
  readonly headers?: Record<string, string>;
}

export async function startApi(
  database: TestDatabase,
  overrides: {
    gateway?: WorkflowGateway;
    apiTokens?: readonly ApiTokenSetting[];
    pathPrefix?: string;
    logger?: Logger;
    pool?: Pool;
    requestTimeoutMs?: number;
    ingestBodyMs?: number;
    publicUrl?: string;
    storage?: StoragePlace;
    tokensFile?: string;
    oidc?: OidcIssuer;
    rateLimitPerMinute?: number;
    unknownTokensPerMinute?: number;
    trustedProxies?: number;
    corsOrigins?: readonly string[];
    streamLimits?: Partial<StreamLimits>;
    onDoubledPrefix?: ApiDeps['onDoubledPrefix'];
    webhooks?: Partial<ApiDeps['webhooks']>;
  } = {},
): Promise<TestApi> {
  const logger = overrides.logger ?? createLogger({ name: 'test-api', level: 'silent' });
  const keySet = newKeySet('test-1');
  const runnerTokens = await RunnerTokens.fromJwks(keySet);
  const listener = new Listener(database.url, logger);
  const notifier = new Notifier(database.pool, logger);
  const leaving = new AbortController();
  const stopping = new AbortController();
  const metrics = new ApiMetrics();
  metrics.process.measure({ pool: overrides.pool ?? database.pool, listener });
  const deps: ApiDeps = {
    pool: overrides.pool ?? database.pool,
    listener,
    notifier,
    runnerTokens,
    authenticator: new Authenticator({
      apiTokens: new ApiTokens({
        fixed: overrides.apiTokens ?? apiTokens,
        path: overrides.tokensFile,
        logger,
      }),
      runnerTokens,
      oidc: overrides.oidc,
      guesses: createGuessLimit(overrides.unknownTokensPerMinute ?? 0),
    }),
    rateLimits: createRateLimits(overrides.rateLimitPerMinute ?? 0),
    gateway: overrides.gateway ?? fakeGateway(database.pool),
    logger,
    metrics,
    redactor: createRedactor(),
    spans: new ContractSpans({
      redactor: createRedactor(),
      onFailure: metrics.process.onTelemetryFailure,
    }),
    sourceCommit: 'test',
    storage: overrides.storage ?? directories,
    pathPrefix: overrides.pathPrefix ?? '',
    trustedProxies: overrides.trustedProxies ?? 0,
    corsOrigins: overrides.corsOrigins ?? [],
    publicUrl: overrides.publicUrl,
    webhooks: {
      key: new WebhookKey('test-key-0123456789abcdef0123456789'),
      allowedHosts: [],
      ...overrides.webhooks,
    },
    ...(overrides.onDoubledPrefix === undefined ? {} : { onDoubledPrefix: overrides.onDoubledPrefix }),
    streamLimits: { ...streamLimits, ...overrides.streamLimits },
    leaving: leaving.signal,
    ...(overrides.ingestBodyMs === undefined ? {} : { ingestBodyMs: overrides.ingestBodyMs }),
    stopping: stopping.signal,
    checkAnswers: true,
  };
  listener.start();
  const serving = await serve(createApp(deps), {
    host: '127.0.0.1',
    port: 0,
    ...(overrides.requestTimeoutMs === undefined ? {} : { requestTimeoutMs: overrides.requestTimeoutMs }),
  });
  const url = `http://127.0.0.1:${serving.port}`;
  const call = (method: string, path: string, options: CallOptions = {}) =>
    request(url, method, path, options);
  return {
    url,
    deps,
    keySet,
    call,
    data: async (schema, method, path, options) => {
      const answer = await call(method, path, options);
      if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
      return schema.parse(answer.body.data);
    },
    leave: () => leaving.abort(),
    stop: async () => {
      leaving.abort();
      stopping.abort();
      await serving.close(1_000);
      await notifier.close();
      await listener.close();
    },
  };
}

async function request(url: string, method: string, path: string, options: CallOptions): Promise<ApiAnswer> {
  const { body, token = adminToken, headers = {} } = options;
  const isRaw = typeof body === 'string' || body instanceof Uint8Array;
  const sent = body === undefined || isRaw ? body : JSON.stringify(body);
  const response = await fetch(`${url}${path}`, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(sent === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(sent === undefined ? {} : { body: sent }),
    redirect: 'error',
  });
  const text = await textOf(response);
  const isEnvelope =
    response.headers.get('content-type')?.startsWith('application/json') === true && text !== '';
  return {
    status: response.status,
    headers: response.headers,
    text,
    body: isEnvelope ? envelopeSchema.parse(JSON.parse(text)) : { ok: false, traceId: '' },
  };
}

/** The body; of a stream, which may never end, as far as its first `caught-up`. */
async function textOf(response: Response): Promise<string> {
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
  if (!isStream || response.body === null) return response.text();
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of response.body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.includes('event: caught-up\n') && text.endsWith('\n\n')) break;
  }
  return text;
}
