import { z } from 'zod';
import { agentRequestRecordSchema, expireAnswerSchema } from '../agent-requests.js';
import { eventPageSchema } from '../events.js';
import {
  agentRequestIdSchema,
  commandIdSchema,
  runIdSchema,
  runnerJobIdSchema,
  sessionIdSchema,
} from '../ids.js';
import { cursorQuery, labelsQuery, limitQuery, pageOf, queryOf, textQuery } from '../queries.js';
import { routeContract } from '../route-contract.js';
import {
  cancelObservationSchema,
  cancelSchema,
  createRunSchema,
  runRecordSchema,
  runResultSchema,
} from '../runs.js';
import { createRunnerJobSchema, runnerJobStatusSchema } from '../sessions.js';
import { agentRequestStateSchema, backendProfileSchema, runStatusSchema } from '../states.js';
import { eventPageQuery, sessionParams } from './sessions.js';

export const runParams = z.object({ runId: runIdSchema });

const requestQuery = z.object({
  state: queryOf(agentRequestStateSchema),
  cursor: queryOf(agentRequestIdSchema),
  limit: limitQuery(100),
});
const requestPage = pageOf(agentRequestRecordSchema);

/** Runs as their owner sees them (contract.md 5; ours: the list, requests of the agent). */
export const runRoutes = {
  createRun: routeContract({
    method: 'post',
    path: '/api/v1/runs',
    tag: 'runs',
    summary: 'Creates a run whose runner somebody else starts; a turn command begins it.',
    auth: { api: 'operate' },
    body: createRunSchema,
    data: runRecordSchema,
    idempotency: 'key',
    failures: ['conflict', 'not-found', 'session-store-evicted'],
  }),
  listRuns: routeContract({
    method: 'get',
    path: '/api/v1/runs',
    tag: 'runs',
    summary: 'Runs, the newest first.',
    auth: { api: 'read' },
    query: z.object({
      limit: limitQuery(50),
      cursor: cursorQuery,
      status: queryOf(runStatusSchema),
      sessionId: queryOf(sessionIdSchema),
      projectId: textQuery,
      backendProfile: queryOf(backendProfileSchema),
      labels: labelsQuery,
    }),
    data: pageOf(runRecordSchema),
  }),
  getRun: routeContract({
    method: 'get',
    path: '/api/v1/runs/:runId',
    tag: 'runs',
    summary: 'A run.',
    auth: { api: 'read' },
    params: runParams,
    data: runRecordSchema,
  }),
  listRunEvents: routeContract({
    method: 'get',
    path: '/api/v1/runs/:runId/events',
    tag: 'runs',
    summary: 'Events of a run after `afterSeq`; with `waitMs` a long poll.',
    auth: { api: 'read' },
    params: runParams,
    query: eventPageQuery,
    data: eventPageSchema,
  }),
  getRunResult: routeContract({
    method: 'get',
    path: '/api/v1/runs/:runId/result',
    tag: 'runs',
    summary: 'How a run stands or ended, its last message, diff and tokens.',
    auth: { api: 'read' },
    params: runParams,
    query: z.object({ commandId: queryOf(commandIdSchema) }),
    data: runResultSchema,
  }),
  cancelRun: routeContract({
    method: 'post',
    path: '/api/v1/runs/:runId/cancel',
    tag: 'runs',
    summary: 'Asks for the end of a run, with what was observed; a run that has ended is answered as it is.',
    auth: { api: 'operate' },
    params: runParams,
    body: cancelSchema,
    data: runRecordSchema.extend({ cancel: cancelObservationSchema }),
  }),
  createRunnerJob: routeContract({
    method: 'post',
    path: '/api/v1/runs/:runId/runner-jobs',
    tag: 'runner-jobs',
    summary: 'Gives a run that waits for a runner the configured launcher; answers the job that exists.',
    auth: { api: 'operate' },
    params: runParams,
    body: createRunnerJobSchema,
    data: runnerJobStatusSchema,
    idempotency: 'natural',
    failures: ['conflict', 'session-busy'],
  }),
  listRunnerJobs: routeContract({
    method: 'get',
    path: '/api/v1/runs/:runId/runner-jobs',
    tag: 'runner-jobs',
    summary: 'One row per attempt and the runner that serves it, with how it stands.',
    auth: { api: 'read' },
    params: runParams,
    query: z.object({ commandId: queryOf(commandIdSchema) }),
    data: z.object({
      items: z.array(runnerJobStatusSchema),
      count: z.number().int(),
      lastSeq: z.number().int(),
    }),
  }),
  getRunnerJob: routeContract({
    method: 'get',
    path: '/api/v1/runs/:runId/runner-jobs/:runnerJobId',
    tag: 'runner-jobs',
    summary: 'One runner job of a run.',
    auth: { api: 'read' },
    params: runParams.extend({ runnerJobId: runnerJobIdSchema }),
    data: runnerJobStatusSchema,
  }),
  listRunRequests: routeContract({
    method: 'get',
    path: '/api/v1/runs/:runId/requests',
    tag: 'requests',
    summary: 'What the agent asked in a run, in order.',
    auth: { api: 'read' },
    params: runParams,
    query: requestQuery,
    data: requestPage,
  }),
  listSessionRequests: routeContract({
    method: 'get',
    path: '/api/v1/sessions/:sessionId/requests',
    tag: 'requests',
    summary: 'What the agent asked in a session; `state=pending` are those that wait for an answer.',
    auth: { api: 'read' },
    params: sessionParams,
    query: requestQuery,
    data: requestPage,
  }),
  expireRequest: routeContract({
    method: 'post',
    path: '/api/v1/runs/:runId/requests/:requestId/expire',
    tag: 'requests',
    summary: 'The time of a request is over, says its runner; answers how it is resolved.',
    auth: { api: 'operate', run: true },
    params: runParams.extend({ requestId: agentRequestIdSchema }),
    data: expireAnswerSchema,
    failures: ['fenced', 'conflict'],
  }),
};
