import { AgentRunError } from '../../contract/errors.js';
import { getCommand, listCommands } from '../../store/commands.js';
import { getRunResult } from '../../store/run-results.js';
import { getRunnerJob, listRunnerJobs } from '../../store/runner-jobs.js';
import { createRun, getRun } from '../../store/runs.js';
import { cancelRun } from '../cancel-run.js';
import type { ApiDeps } from '../deps.js';
import { eventPage } from '../event-pages.js';
import { markReplayed, requestKey } from '../idempotency-key.js';
import { implement, type Route } from '../route.js';
import { refusal } from '../send-message.js';
import { requireTenant, requireWorkspace, tenantOf } from '../tenancy.js';

/** Runs as their owner sees them (contract.md 5). */
export function runRoutes(deps: ApiDeps): Route[] {
  const { pool } = deps;
  return [
    implement('createRun', async (request) => {
      const { body, caller, trace } = request;
      requireTenant(caller, body.tenantId);
      requireWorkspace(caller, body.workspace);
      const { run, replayed } = await createRun(pool, body, {
        traceparent: trace.traceparent,
        key: requestKey(request.idempotencyKey),
        maySeeAllTenants: tenantOf(caller) === undefined,
        storage: deps.storage,
      });
      markReplayed(request, replayed);
      return run;
    }),
    implement('getRun', ({ params: { runId }, caller }) => getRun(pool, runId, tenantOf(caller))),
    implement('listRunEvents', async ({ params: { runId }, query, caller, signal }) => {
      await getRun(pool, runId, tenantOf(caller));
      return eventPage(deps, runId, query, signal);
    }),
    implement('getRunResult', async ({ params: { runId }, query: { commandId }, caller }) => {
      const tenantId = tenantOf(caller);
      if (commandId !== undefined) {
        const command = await getCommand(pool, commandId, tenantId);
        if (command.runId !== runId)
          throw new AgentRunError('not-found', `command ${commandId} is not one of run ${runId}`);
      }
      return getRunResult(pool, runId, { commandId, tenantId });
    }),
    implement('cancelRun', async ({ params: { runId }, body, caller, signal }) => {
      const { run, cancel } = await cancelRun(
        deps,
        await getRun(pool, runId, tenantOf(caller)),
        body,
        signal,
      );
      return { ...run, cancel };
    }),
    implement('createRunnerJob', async ({ params: { runId }, body, caller }) => {
      const run = await getRun(pool, runId, tenantOf(caller));
      await requirePrompt(deps, runId, body.commandId);
      const { sessionId, tenantId, projectId } = run;
      const decided = await deps.gateway.launch({ sessionId, tenantId, projectId }, runId);
      if (decided.kind === 'refused') throw refusal(decided.failureKind, decided.message);
      return getRunnerJob(pool, runId, decided.jobId);
    }),
    implement('listRunnerJobs', async ({ params: { runId }, query: { commandId }, caller }) => {
      const { lastSeq } = await getRunResult(pool, runId, { tenantId: tenantOf(caller) });
      const items = await listRunnerJobs(pool, runId, commandId);
      return { items, count: items.length, lastSeq };
    }),
    implement('getRunnerJob', async ({ params: { runId, runnerJobId }, caller }) => {
      await getRun(pool, runId, tenantOf(caller));
      return getRunnerJob(pool, runId, runnerJobId);
    }),
  ];
}

/** A job is for the prompt of its run: a caller who names another command means another run. */
async function requirePrompt(deps: ApiDeps, runId: string, commandId: string | undefined): Promise<void> {
  if (commandId === undefined) return;
  const [first] = await listCommands(deps.pool, runId, { afterSeq: 0, limit: 1 });
  if (first?.id !== commandId)
    throw new AgentRunError('conflict', `commandId: ${commandId} is not the prompt of run ${runId}`);
}
