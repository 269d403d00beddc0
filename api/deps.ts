import type { Logger } from '../infra/telemetry/logger.js';
import type { RunnerTokens } from '../infra/tokens/runner-tokens.js';
import type { Listener } from '../store/listener.js';
import type { Notifier } from '../store/notifier.js';
import type { Pool } from '../store/pool.js';
import type { Authenticator } from './auth.js';
import type { WorkflowGateway } from './workflow-gateway.js';

/** Everything that the routes need. */
export interface ApiDeps {
  readonly pool: Pool;
  readonly listener: Listener;
  readonly notifier: Notifier;
  readonly runnerTokens: RunnerTokens;
  readonly authenticator: Authenticator;
  readonly gateway: WorkflowGateway;
  readonly logger: Logger;
  readonly sourceCommit: string;
  /** Without a trailing slash; empty when the API is served at the root. */
  readonly pathPrefix: string;
  /** Aborted when the process is to end. */
  readonly stopping: AbortSignal;
  /** Tests: an answer that does not fit its schema is an error. */
  readonly checkAnswers?: boolean;
}
