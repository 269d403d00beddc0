import { AgentRunError } from '../contract/errors.js';
import { externalRunner, type RunnerIdentity } from '../store/runner-identity.js';
import type { Caller } from './auth.js';
import type { ApiDeps } from './deps.js';

/** The tenant that a caller is bound to; undefined sees all. Runner tokens are checked against their run instead. */
export function tenantOf(caller: Caller): string | undefined {
  return caller.kind === 'api' ? caller.tenantId : undefined;
}

/**
 * A tenant in a body must be the token's (decisions.md, tenants).
 *
 * @throws AgentRunError `forbidden`.
 */
export function requireTenant(caller: Caller, tenantId: string | undefined): void {
  const own = tenantOf(caller);
  if (own !== undefined && tenantId !== undefined && tenantId !== own) {
    throw new AgentRunError('forbidden', 'tenantId: the token belongs to another tenant');
  }
}

/**
 * The runner behind a write to a run: of the run token, or of the claim when the run is external and the caller has an API token.
 *
 * @throws AgentRunError `forbidden` when the token is for another run.
 */
export async function runnerOf(deps: ApiDeps, caller: Caller, runId: string): Promise<RunnerIdentity> {
  if (caller.kind === 'api') return externalRunner(deps.pool, runId, caller.tenantId);
  if (caller.kind !== 'run') throw new AgentRunError('unauthorized', 'this route takes a run token');
  if (caller.runner.runId !== runId) throw new AgentRunError('forbidden', 'the token is for another run');
  return caller.runner;
}
