import { z } from 'zod';
import { outcomeSchema } from '../commands.js';
import { deltasAnswerSchema, sendDeltasSchema } from '../deltas.js';
import { eventTypeSchema, runEventSchema } from '../events.js';
import { sessionIdSchema } from '../ids.js';
import { ingestAnswerSchema } from '../ingest.js';
import { jsonObjectSchema } from '../json.js';
import { optionalOr } from '../optional.js';
import { cursorQuery, integerQuery, limitQuery, pageOf, queryOf, waitMsQuery } from '../queries.js';
import { routeContract } from '../route-contract.js';
import {
  assignmentSchema,
  claimSchema,
  leaseAnswerSchema,
  leaseSchema,
  nextAnswerSchema,
  outcomeAnswerSchema,
  registerAnswerSchema,
  registerSchema,
  runnerLeaseAnswerSchema,
  runnerLeaseSchema,
  runnerRecordSchema,
} from '../runners.js';
import { runnerStateSchema } from '../states.js';
import { textSchema } from '../text.js';
import { runParams } from './runs.js';

const tag = 'runners';
const runnerParams = z.object({ runnerId: textSchema.max(200) });

/** What runners say and ask (contract.md 5.3, 5.8, 5.9, 6.1; architecture.md 5, 6). Postgres only: an outage of Temporal stops none of it. */
export const runnerRoutes = {
  claimRun: routeContract({
    method: 'post',
    path: '/api/v1/runs/:runId/claim',
    tag,
    summary: 'Takes the current attempt; a repeat by the same runner answers the same.',
    auth: { api: 'operate', launch: true },
    params: runParams,
    body: claimSchema,
    data: assignmentSchema,
    failures: ['fenced'],
  }),
  renewLease: routeContract({
    method: 'patch',
    path: '/api/v1/runs/:runId/lease',
    tag,
    summary: 'Heartbeat: renews the lease, answers pending work and a fresh token.',
    auth: { api: 'operate', run: true, runner: true },
    params: runParams,
    body: leaseSchema,
    data: leaseAnswerSchema,
    failures: ['fenced', 'conflict'],
  }),
  ingestEvents: routeContract({
    method: 'post',
    path: '/api/v1/runs/:runId/ingest',
    tag,
    summary:
      'Appends a batch of events, exactly once; an empty one asks for lastAcceptedSeq. A last line `complete` ends the stream of the epoch. `spilledEpoch`: late events of an earlier attempt.',
    auth: { api: 'operate', run: true },
    params: runParams,
    // Epochs count from 1: without the parameter it is 0.
    query: z.object({ spilledEpoch: integerQuery({ min: 1, max: 1_000_000, default: 0 }) }),
    bodyKind: 'ndjson',
    data: ingestAnswerSchema,
    failures: ['fenced', 'conflict', 'request-timeout'],
  }),
  sendDeltas: routeContract({
    method: 'post',
    path: '/api/v1/runs/:runId/deltas',
    tag,
    summary: 'Text that the agent is writing now, for who watches; best effort, never in the log.',
    auth: { run: true },
    params: runParams,
    body: sendDeltasSchema,
    countedApart: true,
    data: deltasAnswerSchema,
    failures: ['fenced'],
  }),
  appendEvent: routeContract({
    method: 'post',
    path: '/api/v1/runs/:runId/events',
    tag,
    summary:
      'Appends one event as the next of its epoch, for old runners that count none (contract.md 5.3). A producer uses this or ingest.',
    auth: { api: 'operate', run: true },
    params: runParams,
    body: z.object({
      type: optionalOr(eventTypeSchema, 'backend_status'),
      payload: optionalOr(jsonObjectSchema, {}),
    }),
    data: runEventSchema,
    idempotency: 'key',
    failures: ['fenced', 'conflict'],
  }),
  finishAttempt: routeContract({
    method: 'patch',
    path: '/api/v1/runs/:runId/status',
    tag,
    summary: 'How the attempt ended; first writer wins. The run ends by its workflow.',
    auth: { api: 'operate', run: true },
    params: runParams,
    body: outcomeSchema,
    data: outcomeAnswerSchema,
    failures: ['fenced', 'conflict'],
  }),
  listRunners: routeContract({
    method: 'get',
    path: '/api/v1/runners',
    tag,
    summary: 'Runners, the newest first.',
    auth: { api: 'read' },
    query: z.object({
      limit: limitQuery(50),
      cursor: cursorQuery,
      state: queryOf(runnerStateSchema),
      sessionId: queryOf(sessionIdSchema),
    }),
    data: pageOf(runnerRecordSchema),
  }),
  registerRunner: routeContract({
    method: 'post',
    path: '/api/v1/runners/register',
    tag,
    summary:
      'Makes a start of a supervisor the runner instance of its job; old clients are told an id to claim with.',
    auth: { api: 'operate', launch: true },
    body: registerSchema,
    data: registerAnswerSchema,
    failures: ['fenced'],
  }),
  nextWork: routeContract({
    method: 'get',
    path: '/api/v1/runners/:runnerId/next',
    tag,
    summary: 'What an idle runner does next: a run, close, or neither when the wait is over.',
    auth: { runner: true },
    params: runnerParams,
    query: z.object({ waitMs: waitMsQuery }),
    data: nextAnswerSchema,
    failures: ['fenced'],
  }),
  renewRunner: routeContract({
    method: 'patch',
    path: '/api/v1/runners/:runnerId/lease',
    tag,
    summary: 'Heartbeat of an idle runner; answers a fresh runner token.',
    auth: { runner: true },
    params: runnerParams,
    body: runnerLeaseSchema,
    data: runnerLeaseAnswerSchema,
    failures: ['fenced'],
  }),
};
