import type { z } from 'zod';
import type { routes } from '../../contract/routes/index.js';
import { expireAgentRequest, listAgentRequests, type RequestOwner } from '../../store/agent-requests.js';
import { getRun } from '../../store/runs.js';
import { getSession } from '../../store/sessions.js';
import type { ApiDeps } from '../deps.js';
import { implement, type Route } from '../route.js';
import { runnerOf, tenantOf } from '../tenancy.js';

/** What agents ask people. They are answered by `send` with `answers`. */
export function agentRequestRoutes(deps: ApiDeps): Route[] {
  const { pool, notifier } = deps;
  const pageOf = async (owner: RequestOwner, asked: z.output<typeof routes.listRunRequests.query>) => {
    const { state, cursor, limit } = asked;
    const found = await listAgentRequests(pool, owner, { state, afterId: cursor, limit: limit + 1 });
    const items = found.slice(0, limit);
    const hasMore = found.length > limit;
    return { items, hasMore, nextCursor: hasMore ? (items.at(-1)?.requestId ?? null) : null };
  };
  return [
    implement('listRunRequests', async ({ params: { runId }, query: asked, caller }) => {
      await getRun(pool, runId, tenantOf(caller));
      return pageOf({ runId }, asked);
    }),
    implement('listSessionRequests', async ({ params: { sessionId }, query: asked, caller }) => {
      await getSession(pool, sessionId, tenantOf(caller));
      return pageOf({ sessionId }, asked);
    }),
    implement('expireRequest', async ({ params: { runId, requestId }, caller }) => {
      const resolution = await expireAgentRequest(pool, await runnerOf(deps, caller, runId), requestId);
      notifier.notify('agentrun_run', runId);
      notifier.notify('agentrun_attempt', runId);
      return { requestId, resolution };
    }),
  ];
}
