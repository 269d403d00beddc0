import { setTimeout as sleep } from 'node:timers/promises';
import type { Health } from '../../contract/health.js';
import { backendProfileSchema } from '../../contract/states.js';
import type { ApiDeps } from '../deps.js';
import { implement, type Route } from '../route.js';

const checkTimeoutMs = 1_000;

/** Health and readiness (contract.md 1.7, decisions.md), who a caller is, and what backends can do. */
export function systemRoutes(deps: ApiDeps): Route[] {
  const live = async () => healthOf(deps, { database: null, temporal: null });
  const ready = async ({ setStatus }: { setStatus: (status: number) => void }) => {
    const health = healthOf(deps, await check(deps));
    setStatus(health.ready ? 200 : 503);
    return health;
  };
  return [
    implement('health', async () => healthOf(deps, await check(deps))),
    implement('liveness', live),
    implement('livenessAlias', live),
    implement('readiness', ready),
    implement('readinessAlias', ready),
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
