import { setTimeout as sleep } from 'node:timers/promises';
import { backendCapabilities } from '../../contract/backends.js';
import { AgentRunError } from '../../contract/errors.js';
import type { Health } from '../../contract/health.js';
import { backendProfileSchema } from '../../contract/states.js';
import type { Whoami } from '../../contract/system.js';
import { Installation } from '../../store/installation.js';
import type { Caller } from '../auth.js';
import type { ApiDeps } from '../deps.js';
import { implement, type Route } from '../route.js';

const backends = backendProfileSchema.options.map((backendProfile) => ({
  backendProfile,
  capabilities: backendCapabilities[backendProfile],
}));

const checkTimeoutMs = 1_000;
const lookEveryMs = 1_000;

/** Health and readiness (contract.md 1.7, decisions.md), who a caller is, and what backends can do. */
export function systemRoutes(deps: ApiDeps): Route[] {
  const installation = new Installation(deps.pool);
  const live = async () =>
    healthOf(deps, { database: notAsked, temporal: notAsked, installationId: installation.knownId });
  const look = sharedLook(() => check(deps, installation));
  const ready = async ({ setStatus }: { setStatus: (status: number) => void }) => {
    const health = healthOf(deps, await look());
    setStatus(health.ready ? 200 : 503);
    return health;
  };
  return [
    implement('health', async () => healthOf(deps, await look())),
    implement('liveness', live),
    implement('livenessAlias', live),
    implement('readiness', ready),
    implement('readinessAlias', ready),
    implement('listBackends', () => ({ items: backends, valuesPrinted: false as const })),
    implement('whoami', async ({ caller }) => ({
      ...described(caller),
      installationId: await installation.id(),
    })),
  ];
}

/** Of a part that was not asked nothing is known. */
const notAsked = Symbol('not asked');
type Finding = string | null | typeof notAsked;

/** What is wrong with each part, or null. */
interface Findings {
  readonly database: Finding;
  readonly temporal: Finding;
  readonly installationId: string | null;
}

/** One look for all who ask within a second: nobody needs a token to ask. */
function sharedLook(look: () => Promise<Findings>): () => Promise<Findings> {
  let last: { readonly atMs: number; readonly found: Promise<Findings> } | undefined;
  return () => {
    const nowMs = performance.now();
    if (last === undefined || nowMs - last.atMs >= lookEveryMs) last = { atMs: nowMs, found: look() };
    return last.found;
  };
}

async function check(deps: ApiDeps, installation: Installation): Promise<Findings> {
  const [database, temporal] = await Promise.all([
    finding(async () => {
      await deps.pool.query('select 1');
      await installation.id();
    }, 'Postgres'),
    finding(() => deps.gateway.check(checkTimeoutMs), 'Temporal'),
  ]);
  return { database, temporal, installationId: installation.knownId };
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
    ready:
      !deps.leaving.aborted &&
      [findings.database, findings.temporal].every((part) => part === null || part === notAsked),
    database: { adapter: 'postgres', ...partOf(findings.database) },
    temporal: partOf(findings.temporal),
    sourceCommit: deps.sourceCommit,
    installationId: findings.installationId,
    auth: deps.authenticator.summary,
    runnerWorkReady: {
      backends: [...backendProfileSchema.options],
      capabilities: ['turn', 'steer', 'cancel', 'usage', 'diff'],
    },
    secretRefs: { databaseUrl: 'redacted', valuesPrinted: false },
  };
}

function partOf(finding: Finding): { ready: boolean | null; message: string | null } {
  return finding === notAsked
    ? { ready: null, message: null }
    : { ready: finding === null, message: finding };
}

/** What the token says; whether an attempt is still current is for the routes that write. */
function described(caller: Caller): Omit<Whoami, 'installationId'> {
  const nobody = {
    name: null,
    scopes: [],
    tenantId: null,
    runId: null,
    epoch: null,
    runnerId: null,
  };
  switch (caller.kind) {
    case 'api':
      return {
        ...nobody,
        kind: 'api',
        name: caller.name,
        scopes: [...caller.scopes],
        tenantId: caller.tenantId ?? null,
      };
    case 'launch':
      return { ...nobody, kind: 'launch', runId: caller.claims.run, epoch: caller.claims.epoch };
    case 'runner':
      return { ...nobody, kind: 'runner', runnerId: caller.claims.runner };
    case 'run':
      return { ...nobody, kind: 'run', ...ofRun(caller.runner) };
    case 'nobody':
      throw new AgentRunError('unauthorized', 'send a token: authorization: Bearer …');
  }
}

const ofRun = ({ runId, epoch, runnerId }: { runId: string; epoch: number; runnerId: string }) => ({
  runId,
  epoch,
  runnerId,
});
