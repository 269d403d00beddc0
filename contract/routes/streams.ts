import { z } from 'zod';
import { runIdSchema, sessionIdSchema } from '../ids.js';
import { routeContract } from '../route-contract.js';
import {
  feedFrameSchema,
  runStreamFrameSchema,
  sessionStreamFrameSchema,
  streamStartSchema,
} from '../streams.js';

const tag = 'streams';

const none = (text: string | undefined) => (text === '' ? undefined : text);

/**
 * `Last-Event-ID` beats `after`, which beats `start` (decisions.md, "Stream frames"). Strict, other than the queries of the old manager: a cursor that is
 * mistyped must not begin the stream anew. An empty parameter is none.
 */
export const streamQuery = z.strictObject({
  after: z.string().max(2_000).optional().transform(none).meta({
    description:
      'The cursor: id of the last event that the reader has seen; the stream goes on behind it. The header `Last-Event-ID` beats it, and it beats `start`.',
  }),
  start: z
    .enum(['', ...streamStartSchema.options])
    .optional()
    .transform((word) => (word === '' ? undefined : word))
    .meta({
      description:
        '`latest`, the only value: begins with what comes from now on. Ignored when there is a cursor; without either the stream begins with the first event.',
    }),
});

/** Server-sent events (decisions.md, "Stream frames"; requirements.md A.1.b). */
export const streamRoutes = {
  streamRun: routeContract({
    method: 'get',
    path: '/api/v1/runs/:runId/stream',
    tag,
    summary: 'The log of a run from a cursor on, live, until its end.',
    auth: { api: 'read' },
    params: z.object({ runId: runIdSchema }),
    query: streamQuery,
    answers: 'event-stream',
    data: runStreamFrameSchema,
    failures: ['cursor-ahead'],
  }),
  streamSession: routeContract({
    method: 'get',
    path: '/api/v1/sessions/:sessionId/stream',
    tag,
    summary: 'The logs of the turns of a session one after another, live, until it is archived or deleted.',
    auth: { api: 'read' },
    params: z.object({ sessionId: sessionIdSchema }),
    query: streamQuery,
    answers: 'event-stream',
    data: sessionStreamFrameSchema,
    failures: ['cursor-ahead'],
  }),
  streamFeed: routeContract({
    method: 'get',
    path: '/api/v1/feed',
    tag,
    summary:
      'Every event of the installation, or of the tenant of the token, in one order that never changes.',
    auth: { api: 'read' },
    query: streamQuery,
    answers: 'event-stream',
    data: feedFrameSchema,
    failures: ['cursor-ahead'],
  }),
};
