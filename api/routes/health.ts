import { setTimeout as sleep } from 'node:timers/promises';
import { type Health, healthSchema } from '../../contract/health.js';
import { backendProfileSchema } from '../../contract/states.js';
import type { ApiDeps } from '../deps.js';
import { defineRoute, ignored, type Route } from '../route.js';

const checkTimeoutMs = 1_000;

/** Health and readiness (contract.md 1.7, decisions.md). Exempt from auth, exactly these paths. */
export function healthRoutes(deps: ApiDeps): Route[] {
  const route = (path: string, summary: string, handle: () => Promise<{ health: Health; status: number }>) =>
    defineRoute({
      method: 'get',
      path,
      summary,
      auth: 'none',
      params: ignored,
      query: ignored,
      body: ignored,
      data: healthSchema,
      handle: async ({ setStatus }) => {
        const { health, status } = await handle();
        setStatus(status);
        return health;
      },
    });
  const live = async () => ({ health: healthOf(deps, { database: null, temporal: null }), status: 200 });
  const ready = async () => {
    const health = healthOf(deps, await check(deps));
    return { health, status: health.ready ? 200 : 503 };
  };
  return [
    route('/health', 'Readiness in the body; the status is always 200.', async () => ({
      ...(await ready()),
      status: 200,
    })),
    route('/health/live', 'The process answers; asks nobody.', live),
    route('/healthz', 'Alias of /health/live.', live),
    route('/health/readiness', '503 when Postgres or Temporal is not reachable.', ready),
    route('/readyz', 'Alias of /health/readiness.', ready),
  ];
}

/** What is wrong with each part, or null. */
interface Findings {
  readonly database: string | null;
  readonly temporal: string | null;
}

async function check(deps: ApiDeps): Promise<Findings> {
  const [database, temporal] = await Promise.all([
    finding(() => deps.pool.query('select 1'), 'Postgres'),
    finding(() => deps.gateway.check(checkTimeoutMs), 'Temporal'),
  ]);
  return { database, temporal };
}

/** The reason stays general: drivers put hosts and users into their messages. */
async function finding(ask: () => Promise<unknown>, name: string): Promise<string | null> {
  const limit = new AbortController();
  const late = sleep(checkTimeoutMs, `${name} did not answer within ${checkTimeoutMs} ms`, {
    signal: limit.signal,
  });
  const asked = ask().then(
    () => null,
    () => `${name} is not reachable`,
  );
  try {
    return await Promise.race([asked, late]);
  } finally {
    late.catch(() => undefined);
    limit.abort();
  }
}

function healthOf(deps: ApiDeps, findings: Findings): Health {
  return {
    serviceId: 'agentrun-mgr',
    live: true,
    ready: findings.database === null && findings.temporal === null,
    database: { adapter: 'postgres', ready: findings.database === null, message: findings.database },
    temporal: { ready: findings.temporal === null, message: findings.temporal },
    sourceCommit: deps.sourceCommit,
    auth: deps.authenticator.summary,
    runnerWorkReady: {
      backends: [...backendProfileSchema.options],
      capabilities: ['turn', 'steer', 'cancel', 'usage', 'diff'],
    },
    secretRefs: { databaseUrl: 'redacted', valuesPrinted: false },
  };
}
