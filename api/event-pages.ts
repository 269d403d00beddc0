import type { z } from 'zod';
import type { EventPage } from '../contract/events.js';
import type { eventPageQuery } from '../contract/routes/sessions.js';
import { readEvents } from '../store/events.js';
import type { ApiDeps } from './deps.js';
import { longPoll } from './long-poll.js';

/** A page of a run's events, or of those of its transcript; with `waitMs` as soon as there is one after `afterSeq`, or nothing will follow. */
export function eventPage(
  deps: ApiDeps,
  runId: string,
  page: z.output<typeof eventPageQuery> & { readonly transcript?: boolean },
  signal: AbortSignal,
): Promise<EventPage> {
  return longPoll(deps, {
    channel: 'agentrun_run',
    key: runId,
    waitMs: page.waitMs,
    signal,
    look: () => readEvents(deps.pool, runId, page),
    isDone: (found) => found.items.length > 0 || found.terminal,
  });
}
