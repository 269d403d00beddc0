import { auditRoutes } from './audit.js';
import { commandRoutes } from './commands.js';
import { queueRoutes } from './queue.js';
import { runnerRoutes } from './runners.js';
import { runRoutes } from './runs.js';
import { sessionRoutes } from './sessions.js';
import { storageRoutes } from './storage.js';
import { systemRoutes } from './system.js';

/** Every route by its operation id. */
export const routes = {
  ...systemRoutes,
  ...sessionRoutes,
  ...storageRoutes,
  ...runRoutes,
  ...commandRoutes,
  ...runnerRoutes,
  ...queueRoutes,
  ...auditRoutes,
};
/** Operation ids of the API. */
export type OperationId = keyof typeof routes;
