import { z } from 'zod';
import type { EventPage } from '../contract/events.js';
import { readEvents } from '../store/events.js';
import type { ApiDeps } from './deps.js';
import { longPoll } from './long-poll.js';
import { integerQuery, waitMsQuery } from './validation.js';

/** Query of every event page (decisions.md, paging). */
export const eventPageQuery = z.object({
  afterSeq: integerQuery({ min: 0, max: Number.MAX_SAFE_INTEGER, default: 0 }),
  limit: integerQuery({ min: 1, max: 1_000, default: 100 }),
  waitMs: waitMsQuery,
});

/** A page of a run's events; with `waitMs` as soon as there is one after `afterSeq`, or nothing will follow. */
export function eventPage(
  deps: ApiDeps,
  runId: string,
  page: z.output<typeof eventPageQuery>,
  signal: AbortSignal,
): Promise<EventPage> {
  return longPoll(deps.listener, {
    channel: 'agentrun_run',
    key: runId,
    waitMs: page.waitMs,
    signal,
    look: () => readEvents(deps.pool, runId, page),
    isDone: (found) => found.items.length > 0 || found.terminal,
  });
}
