import { AgentRunError } from '../../contract/errors.js';
import { sessionSupervisor } from '../../domain/supervisor-view.js';
import { transcriptText } from '../../domain/transcript.js';
import { getCommand } from '../../store/commands.js';
import { emptyEventPage } from '../../store/events.js';
import { getRunResult } from '../../store/run-results.js';
import { getRun } from '../../store/runs.js';
import { ensureSession, getSession, getSessionSummary, markSessionRead } from '../../store/sessions.js';
import type { Caller } from '../auth.js';
import { cancelRun } from '../cancel-run.js';
import type { ApiDeps } from '../deps.js';
import { withStorage } from '../ensure-storage.js';
import { eventPage } from '../event-pages.js';
import { markReplayed, requestKey } from '../idempotency-key.js';
import { implement, type Route } from '../route.js';
import { requireTenant, requireWorkspace, tenantOf } from '../tenancy.js';

/** Who reads when a request names nobody (contract.md 0.3). */
export const defaultReader = 'cli';

/** Sessions but for `send` (contract.md 3). */
export function sessionRoutes(deps: ApiDeps): Route[] {
  const { pool } = deps;
  return [
    implement('createSession', async (request) => {
      const { body, caller } = request;
      requireTenant(caller, body.tenantId);
      requireWorkspace(caller, body.workspace);
      const { ensured, replayed } = await ensureSession(pool, body, requestKey(request.idempotencyKey), {
        maySeeAllTenants: tenantOf(caller) === undefined,
        storage: deps.storage,
      });
      markReplayed(request, replayed);
      return withStorage(deps, ensured);
    }),
    implement('getSession', async ({ params: { sessionId }, query, caller }) => {
      const summary = await getSessionSummary(
        pool,
        sessionId,
        query.readerId ?? defaultReader,
        tenantOf(caller),
      );
      const runId = summary.activeRunId ?? summary.lastRunId;
      if (runId === null) return summary;
      try {
        // Run and command belong together: the result is of the run's own prompt (contract.md oddity 14).
        const result = await getRunResult(pool, runId);
        const supervisor = sessionSupervisor(summary, result);
        return { ...summary, liveness: result.liveness, supervisor };
      } catch (error) {
        // The summary is of use without it (contract.md 3.4, step 6).
        deps.logger.warn({ cause: error, sessionId, runId }, 'the liveness of a session cannot be read');
        const liveness = {
          phase: 'unavailable' as const,
          active: summary.active,
          failureKind: 'infra-failed' as const,
          message: 'the liveness of the run cannot be read right now',
          valuesPrinted: false as const,
        };
        return { ...summary, liveness };
      }
    }),
    implement('getSessionTrace', async ({ params: { sessionId }, query, caller, signal }) => {
      const runId = await runOfSession(deps, caller, sessionId, query.runId);
      return runId === null ? emptyEventPage : eventPage(deps, runId, query, signal);
    }),
    implement('getSessionOutput', async ({ params: { sessionId }, query, caller, signal }) => {
      const runId = await runOfSession(deps, caller, sessionId, query.runId);
      if (runId === null) return { ...emptyEventPage, items: [] };
      const page = await eventPage(deps, runId, { ...query, transcript: true }, signal);
      return { ...page, items: page.items.map((event) => ({ ...event, text: transcriptText(event) })) };
    }),
    implement('readSession', ({ params: { sessionId }, body, caller }) =>
      markSessionRead(pool, sessionId, body.readerId ?? defaultReader, tenantOf(caller)),
    ),
    implement('controlSession', async ({ params: { sessionId }, body, caller, signal }) => {
      const tenantId = tenantOf(caller);
      if (body.action === 'read')
        return markSessionRead(pool, sessionId, body.readerId ?? defaultReader, tenantId);
      const session = await getSession(pool, sessionId, tenantId);
      if (session.activeRunId === null) {
        throw new AgentRunError('conflict', `session ${sessionId} has no active turn to cancel`);
      }
      const { run, cancel } = await cancelRun(deps, await getRun(pool, session.activeRunId), body, signal);
      const record = session.activeCommandId === null ? run : await getCommand(pool, session.activeCommandId);
      return { ...record, cancel };
    }),
  ];
}

async function runOfSession(
  deps: ApiDeps,
  caller: Caller,
  sessionId: string,
  runId: string | undefined,
): Promise<string | null> {
  const session = await getSession(deps.pool, sessionId, tenantOf(caller));
  if (runId === undefined) return session.activeRunId ?? session.lastRunId;
  const run = await getRun(deps.pool, runId, tenantOf(caller));
  if (run.sessionId === sessionId) return runId;
  throw new AgentRunError('not-found', `run ${runId} is not one of session ${sessionId}`);
}
