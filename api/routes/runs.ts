import { z } from 'zod';
import { AgentRunError } from '../../contract/errors.js';
import { eventPageSchema } from '../../contract/events.js';
import { runIdSchema, runnerJobIdSchema } from '../../contract/ids.js';
import {
  cancelObservationSchema,
  cancelSchema,
  createRunSchema,
  runRecordSchema,
  runResultSchema,
} from '../../contract/runs.js';
import { runnerJobStatusSchema } from '../../contract/sessions.js';
import { getCommand } from '../../store/commands.js';
import { getRunResult } from '../../store/run-results.js';
import { getRunnerJob, listRunnerJobs } from '../../store/runner-jobs.js';
import { createRun, getRun } from '../../store/runs.js';
import { cancelRun } from '../cancel-run.js';
import type { ApiDeps } from '../deps.js';
import { eventPage, eventPageQuery } from '../event-pages.js';
import { defineRoute, ignored, type Route } from '../route.js';
import { requireTenant, tenantOf } from '../tenancy.js';
import { textQuery } from '../validation.js';

const params = z.object({ runId: runIdSchema });

/** Runs as their owner sees them (contract.md 5). */
export function runRoutes(deps: ApiDeps): Route[] {
  const { pool } = deps;
  return [
    defineRoute({
      method: 'post',
      path: '/api/v1/runs',
      summary: 'Creates a run whose runner somebody else starts; a turn command begins it.',
      auth: { api: 'operate' },
      params: ignored,
      query: ignored,
      body: createRunSchema,
      data: runRecordSchema,
      handle: async ({ body, caller, trace }) => {
        requireTenant(caller, body.tenantId);
        return createRun(pool, body, trace.traceparent);
      },
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/runs/:runId',
      summary: 'A run.',
      auth: { api: 'read' },
      params,
      query: ignored,
      body: ignored,
      data: runRecordSchema,
      handle: ({ params: { runId }, caller }) => getRun(pool, runId, tenantOf(caller)),
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/runs/:runId/events',
      summary: 'Events of a run after `afterSeq`; with `waitMs` a long poll.',
      auth: { api: 'read' },
      params,
      query: eventPageQuery,
      body: ignored,
      data: eventPageSchema,
      handle: async ({ params: { runId }, query, caller, signal }) => {
        await getRun(pool, runId, tenantOf(caller));
        return eventPage(deps, runId, query, signal);
      },
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/runs/:runId/result',
      summary: 'How a run stands or ended, its last message, diff and tokens.',
      auth: { api: 'read' },
      params,
      query: z.object({ commandId: textQuery }),
      body: ignored,
      data: runResultSchema,
      handle: async ({ params: { runId }, query: { commandId }, caller }) => {
        const tenantId = tenantOf(caller);
        if (commandId !== undefined) {
          const command = await getCommand(pool, commandId, tenantId);
          if (command.runId !== runId)
            throw new AgentRunError('not-found', `command ${commandId} is not one of run ${runId}`);
        }
        return getRunResult(pool, runId, { commandId, tenantId });
      },
    }),
    defineRoute({
      method: 'post',
      path: '/api/v1/runs/:runId/cancel',
      summary:
        'Asks for the end of a run, with what was observed; a run that has ended is answered as it is.',
      auth: { api: 'operate' },
      params,
      query: ignored,
      body: cancelSchema,
      data: runRecordSchema.extend({ cancel: cancelObservationSchema }),
      handle: async ({ params: { runId }, body, caller, signal }) => {
        const { run, cancel } = await cancelRun(
          deps,
          await getRun(pool, runId, tenantOf(caller)),
          body,
          signal,
        );
        return { ...run, cancel };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/runs/:runId/runner-jobs',
      summary: 'One row per attempt and the runner that serves it, with how it stands.',
      auth: { api: 'read' },
      params,
      query: z.object({ commandId: textQuery }),
      body: ignored,
      data: z.object({
        items: z.array(runnerJobStatusSchema),
        count: z.number().int(),
        lastSeq: z.number().int(),
      }),
      handle: async ({ params: { runId }, query: { commandId }, caller }) => {
        const { lastSeq } = await getRunResult(pool, runId, { tenantId: tenantOf(caller) });
        const items = await listRunnerJobs(pool, runId, commandId);
        return { items, count: items.length, lastSeq };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/api/v1/runs/:runId/runner-jobs/:runnerJobId',
      summary: 'One runner job of a run.',
      auth: { api: 'read' },
      params: params.extend({ runnerJobId: runnerJobIdSchema }),
      query: ignored,
      body: ignored,
      data: runnerJobStatusSchema,
      handle: async ({ params: { runId, runnerJobId }, caller }) => {
        await getRun(pool, runId, tenantOf(caller));
        return getRunnerJob(pool, runId, runnerJobId);
      },
    }),
  ];
}
