import { z } from 'zod';
import { commandRecordSchema } from '../commands.js';
import { eventPageSchema, outputPageSchema } from '../events.js';
import { runIdSchema, sessionIdSchema } from '../ids.js';
import {
  cursorQuery,
  integerQuery,
  labelsQuery,
  limitQuery,
  pageOf,
  queryOf,
  textQuery,
  waitMsQuery,
} from '../queries.js';
import { routeContract } from '../route-contract.js';
import { cancelObservationSchema, runRecordSchema } from '../runs.js';
import {
  controlBodySchema,
  createSessionSchema,
  deletedSessionSchema,
  ensuredSessionSchema,
  readBodySchema,
  readMarkSchema,
  sendAnswerSchema,
  sendPlanSchema,
  sendSchema,
  sessionListStateSchema,
  sessionRecordSchema,
  sessionSummarySchema,
  sessionViewSchema,
} from '../sessions.js';
import { backendProfileSchema } from '../states.js';

export const sessionParams = z.object({ sessionId: sessionIdSchema });
const tag = 'sessions';
const cancelled = { cancel: cancelObservationSchema };

/** Query of every event page (decisions.md, paging). */
export const eventPageQuery = z.object({
  afterSeq: integerQuery({ min: 0, max: Number.MAX_SAFE_INTEGER, default: 0 }),
  limit: integerQuery({ min: 1, max: 1_000, default: 100 }),
  waitMs: waitMsQuery,
});
const tracePageQuery = eventPageQuery.extend({ runId: queryOf(runIdSchema) });

/** Sessions (contract.md 3; ours: list by labels, archive, delete). */
export const sessionRoutes = {
  listSessions: routeContract({
    method: 'get',
    path: '/api/v1/sessions',
    tag,
    summary: 'Sessions, the newest first; archived ones only with `state=archived`.',
    auth: { api: 'read' },
    query: z.object({
      limit: limitQuery(50),
      cursor: cursorQuery,
      state: queryOf(sessionListStateSchema),
      // Present, even if empty, it switches its alias `profile` off (contract.md 3.2).
      backendProfile: z.enum(['', ...backendProfileSchema.options]).optional(),
      profile: z.enum(['', ...backendProfileSchema.options]).optional(),
      readerId: textQuery,
      projectId: textQuery,
      labels: labelsQuery,
    }),
    data: pageOf(sessionSummarySchema),
  }),
  createSession: routeContract({
    method: 'post',
    path: '/api/v1/sessions',
    tag,
    summary: 'Creates a session with its storage, or answers the one that has this id.',
    auth: { api: 'operate' },
    body: createSessionSchema,
    data: ensuredSessionSchema,
    idempotency: 'key',
    failures: ['conflict', 'session-store-evicted', 'not-found'],
  }),
  getSession: routeContract({
    method: 'get',
    path: '/api/v1/sessions/:sessionId',
    tag,
    summary: 'A session as one reader sees it, with how its active or last turn stands.',
    auth: { api: 'read' },
    params: sessionParams,
    query: z.object({ readerId: textQuery }),
    data: sessionViewSchema,
  }),
  deleteSession: routeContract({
    method: 'delete',
    path: '/api/v1/sessions/:sessionId',
    tag,
    summary: 'Deletes a session with its storage, runs and events; 409 while a turn is active.',
    auth: { api: 'operate' },
    params: sessionParams,
    data: deletedSessionSchema,
    failures: ['session-busy'],
  }),
  archiveSession: routeContract({
    method: 'post',
    path: '/api/v1/sessions/:sessionId/archive',
    tag,
    summary:
      'Puts a session aside: it takes no messages and is left out of lists; 409 while a turn is active.',
    auth: { api: 'operate' },
    params: sessionParams,
    data: sessionRecordSchema,
    failures: ['session-busy'],
  }),
  unarchiveSession: routeContract({
    method: 'post',
    path: '/api/v1/sessions/:sessionId/unarchive',
    tag,
    summary: 'Takes an archived session back.',
    auth: { api: 'operate' },
    params: sessionParams,
    data: sessionRecordSchema,
  }),
  getSessionTrace: routeContract({
    method: 'get',
    path: '/api/v1/sessions/:sessionId/trace',
    tag,
    summary: 'Events of the active or last run, or of `runId`; with `waitMs` a long poll.',
    auth: { api: 'read' },
    params: sessionParams,
    query: tracePageQuery,
    data: eventPageSchema,
  }),
  getSessionOutput: routeContract({
    method: 'get',
    path: '/api/v1/sessions/:sessionId/output',
    tag,
    summary:
      'The transcript: as trace, only what reads as text and has ended (messages, commands, file changes, errors, requests), each with its `text`.',
    auth: { api: 'read' },
    params: sessionParams,
    query: tracePageQuery,
    data: outputPageSchema,
  }),
  send: routeContract({
    method: 'post',
    path: '/api/v1/sessions/:sessionId/send',
    tag,
    summary: 'Sends a message: it steers the running turn or is a turn. `dryRun` only says which.',
    auth: { api: 'operate' },
    params: sessionParams,
    body: sendSchema,
    data: z.union([sendAnswerSchema, sendPlanSchema]),
    idempotency: 'key',
    failures: ['conflict', 'session-busy', 'session-store-evicted'],
  }),
  readSession: routeContract({
    method: 'post',
    path: '/api/v1/sessions/:sessionId/read',
    tag,
    summary: 'The reader has seen everything up to now.',
    auth: { api: 'operate' },
    params: sessionParams,
    body: readBodySchema,
    data: readMarkSchema,
  }),
  controlSession: routeContract({
    method: 'post',
    path: '/api/v1/sessions/:sessionId/control',
    tag,
    summary: 'Marks the session read, or cancels its active turn.',
    auth: { api: 'operate' },
    params: sessionParams,
    body: controlBodySchema,
    data: z.union([readMarkSchema, commandRecordSchema.extend(cancelled), runRecordSchema.extend(cancelled)]),
    failures: ['conflict'],
  }),
};
