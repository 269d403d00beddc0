import type { ApiDeps } from '../deps.js';
import type { Route } from '../route.js';
import { agentRequestRoutes } from './agent-requests.js';
import { auditRoutes } from './audit.js';
import { commandRoutes } from './commands.js';

import { listRoutes } from './lists.js';
import { queueTaskRoutes } from './queue-tasks.js';
import { runnerRunRoutes } from './runner-runs.js';
import { runnerRoutes } from './runners.js';
import { runRoutes } from './runs.js';
import { sendRoutes } from './send.js';
import { sessionLifeRoutes } from './session-life.js';
import { sessionRoutes } from './sessions.js';
import { storageRoutes } from './storage.js';
import { streamRoutes } from './streams.js';
import { systemRoutes } from './system.js';
import { webhookRoutes } from './webhooks.js';

/** Every route of the API, once. */
export function routeTable(deps: ApiDeps): Route[] {
  return [
    ...systemRoutes(deps),
    ...sessionRoutes(deps),
    ...sessionLifeRoutes(deps),
    ...storageRoutes(deps),
    ...listRoutes(deps),
    ...sendRoutes(deps),
    ...runRoutes(deps),
    ...commandRoutes(deps),
    ...agentRequestRoutes(deps),
    ...runnerRunRoutes(deps),
    ...runnerRoutes(deps),
    ...queueTaskRoutes(deps),
    ...streamRoutes(deps),
    ...auditRoutes(deps),
    ...webhookRoutes(deps),
  ];
}
