import { AgentRunError } from '../contract/errors.js';
import { isLocalRepository, type Workspace } from '../contract/runs.js';
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
 * A folder of the machine, or a repository in one, may hold what belongs to others: only who sees all tenants names one.
 *
 * @throws AgentRunError `forbidden`.
 */
export function requireWorkspace(caller: Caller, workspace: Workspace | undefined): void {
  if (tenantOf(caller) === undefined || workspace === undefined) return;
  const { path, repository } = workspace;
  if (path === undefined && (repository === undefined || !isLocalRepository(repository))) return;
  const field = path === undefined ? 'workspace.repository' : 'workspace.path';
  throw new AgentRunError('forbidden', `${field}: a token of one tenant names no folder of the machine`);
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
