import { healthSchema } from '../health.js';
import { routeContract } from '../route-contract.js';
import { backendListSchema, whoamiSchema } from '../system.js';

const health = (path: string, summary: string, statuses: readonly number[]) =>
  routeContract({
    method: 'get',
    path,
    tag: 'system',
    summary,
    auth: 'none',
    data: healthSchema,
    statuses,
    // Where no token is configured, under a name that is not of this machine.
    failures: ['forbidden'],
  });

/** Health (contract.md 1.7, decisions.md) and what a caller asks about the API itself. Health is exempt from auth, exactly these paths. */
export const systemRoutes = {
  health: health('/health', 'Readiness in the body; the status is always 200.', [200]),
  liveness: health('/health/live', 'The process answers; asks nobody.', [200]),
  livenessAlias: health('/healthz', 'Alias of /health/live.', [200]),
  readiness: health('/health/readiness', '503 when Postgres or Temporal is not reachable.', [200, 503]),
  readinessAlias: health('/readyz', 'Alias of /health/readiness.', [200, 503]),
  whoami: routeContract({
    method: 'get',
    path: '/api/v1/whoami',
    tag: 'system',
    summary: 'Who the token says that the caller is; what a runner asks before it begins.',
    auth: { api: 'read', launch: true, runner: true, run: true },
    data: whoamiSchema,
  }),
  listBackends: routeContract({
    method: 'get',
    path: '/api/v1/backends',
    tag: 'system',
    summary: 'Backends with a driver, and what each can do.',
    auth: { api: 'read' },
    data: backendListSchema,
  }),
};
