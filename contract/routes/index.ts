import { auditRoutes } from './audit.js';
import { commandRoutes } from './commands.js';
import { queueRoutes } from './queue.js';
import { runnerRoutes } from './runners.js';
import { runRoutes } from './runs.js';
import { sessionRoutes } from './sessions.js';
import { storageRoutes } from './storage.js';
import { streamRoutes } from './streams.js';
import { systemRoutes } from './system.js';
import { webhookRoutes } from './webhooks.js';

/** Every route by its operation id. */
export const routes = {
  ...systemRoutes,
  ...sessionRoutes,
  ...storageRoutes,
  ...runRoutes,
  ...commandRoutes,
  ...runnerRoutes,
  ...queueRoutes,
  ...streamRoutes,
  ...auditRoutes,
  ...webhookRoutes,
};
/** Operation ids of the API. */
export type OperationId = keyof typeof routes;
