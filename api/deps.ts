import type { Logger } from '../infra/telemetry/logger.js';
import type { Redactor } from '../infra/telemetry/redaction.js';
import type { RunnerTokens } from '../infra/tokens/runner-tokens.js';
import type { WebhookKey } from '../infra/webhooks/webhook-key.js';
import type { Listener } from '../store/listener.js';
import type { Notifier } from '../store/notifier.js';
import type { Pool } from '../store/pool.js';
import type { StoragePlace } from '../store/storage-place.js';
import type { Authenticator } from './auth.js';
import type { ApiMetrics } from './metrics.js';
import type { RateLimits } from './rate-limit.js';
import type { ContractSpans } from './spans.js';
import type { StreamLimits } from './streams/stream-source.js';
import type { WorkflowGateway } from './workflow-gateway.js';

/** Everything that the routes need. */
export interface ApiDeps {
  readonly pool: Pool;
  readonly listener: Listener;
  readonly notifier: Notifier;
  readonly runnerTokens: RunnerTokens;
  readonly authenticator: Authenticator;
  readonly rateLimits: RateLimits;
  readonly gateway: WorkflowGateway;
  readonly logger: Logger;
  /** Knows the secrets of the process. */
  readonly redactor: Redactor;
  readonly metrics: ApiMetrics;
  readonly spans: ContractSpans;
  readonly sourceCommit: string;
  /** Where the files of new sessions are to live. */
  readonly storage: StoragePlace;
  /** Without a trailing slash; empty when the API is served at the root. */
  readonly pathPrefix: string;
  /** What absolute links are made from, never from a request's headers; undefined: nobody has said it. */
  readonly publicUrl: string | undefined;
  /** Without a key no webhook can be made; to `allowedHosts` they may lead although these are private. */
  readonly webhooks: {
    readonly key: WebhookKey | undefined;
    readonly allowedHosts: readonly string[];
  };
  /** Told of each request whose path prefix was doubled, with the route that it reached. */
  readonly onDoubledPrefix?: (route: string | undefined) => void;
  /** How many proxies stand in front of the API and add to `X-Forwarded-For`; undefined: none. */
  readonly trustedProxies?: number;
  /** Origins whose pages may use the API from a browser; undefined: none. */
  readonly corsOrigins?: readonly string[];
  readonly streamLimits: StreamLimits;
  /** Aborted when the process has been told to end: it is not ready any more, and serves on for a moment. */
  readonly leaving: AbortSignal;
  /** Within this time, in milliseconds, an ingest body must have arrived. Default: `ingestLimits.bodyMs`. */
  readonly ingestBodyMs?: number;
  /** Aborted when the process is to end: what waits is answered. */
  readonly stopping: AbortSignal;
  /** Tests: an answer that does not fit its schema is an error. */
  readonly checkAnswers?: boolean;
}
