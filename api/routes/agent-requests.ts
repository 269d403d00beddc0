import { z } from 'zod';
import { agentRequestRecordSchema, expireAnswerSchema } from '../../contract/agent-requests.js';
import { agentRequestIdSchema, runIdSchema, sessionIdSchema } from '../../contract/ids.js';
import { agentRequestStateSchema } from '../../contract/states.js';
import { expireAgentRequest, listAgentRequests, type RequestOwner } from '../../store/agent-requests.js';
import { getRun } from '../../store/runs.js';
import { getSession } from '../../store/sessions.js';
import type { ApiDeps } from '../deps.js';
import { defineRoute, ignored, type Route } from '../route.js';
import { runnerOf, tenantOf } from '../tenancy.js';
import { integerQuery, textQuery } from '../validation.js';

const runParams = z.object({ runId: runIdSchema });
const query = z.object({
  state: textQuery.pipe(agentRequestStateSchema.optional()),
  cursor: textQuery.pipe(agentRequestIdSchema.optional()),
  limit: integerQuery({ min: 1, max: 500, default: 100 }),
});
const page = z.object({
  items: z.array(agentRequestRecordSchema),
  nextCursor: z.string().nullable(),
  hasMore: z.boolean(),
});

/** What agents ask people. They are answered by `send` with `answers`. */
export function agentRequestRoutes(deps: ApiDeps): Route[] {
  const { pool, notifier } = deps;
  const pageOf = async (owner: RequestOwner, asked: z.output<typeof query>) => {
    const { state, cursor, limit } = asked;
    const found = await listAgentRequests(pool, owner, { state, afterId: cursor, limit: limit + 1 });
    const items = found.slice(0, limit);
    const hasMore = found.length > limit;
    return { items, hasMore, nextCursor: hasMore ? (items.at(-1)?.requestId ?? null) : null };
  };
  return [
    defineRoute({
      method: 'get',
      path: '/api/v1/runs/:runId/requests',
      summary: 'What the agent asked in a run, in order.',
      auth: { api: 'read' },
      params: runParams,
      query,
      body: ignored,
      data: page,
      handle: async ({ params: { runId }, query: asked, caller }) => {
        await getRun(pool, runId, tenantOf(caller));
        return pageOf({ runId }, asked);
      },
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/sessions/:sessionId/requests',
      summary: 'What the agent asked in a session; `state=pending` are those that wait for an answer.',
      auth: { api: 'read' },
      params: z.object({ sessionId: sessionIdSchema }),
      query,
      body: ignored,
      data: page,
      handle: async ({ params: { sessionId }, query: asked, caller }) => {
        await getSession(pool, sessionId, tenantOf(caller));
        return pageOf({ sessionId }, asked);
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/runs/:runId/requests/:requestId/expire',
      summary: 'The time of a request is over, says its runner; answers how it is resolved.',
      auth: { api: 'operate', run: true },
      params: runParams.extend({ requestId: agentRequestIdSchema }),
      query: ignored,
      body: ignored,
      data: expireAnswerSchema,
      handle: async ({ params: { runId, requestId }, caller }) => {
        const resolution = await expireAgentRequest(pool, await runnerOf(deps, caller, runId), requestId);
        notifier.notify('agentrun_run', runId);
        notifier.notify('agentrun_attempt', runId);
        return { requestId, resolution };
      },
    }),
  ];
}
