import { runCursorSchema, type SessionCursor, sessionCursorSchema } from '../../contract/streams.js';
import { type FeedEdges, readFeedEdges } from '../../store/feed.js';
import {
  compareFeedPositions,
  type FeedPosition,
  feedCursorSchema,
  feedStart,
} from '../../store/feed-position.js';
import { readLogState } from '../../store/log-reads.js';
import { readSessionHead, type SessionHead } from '../../store/session-turns.js';
import type { ApiDeps } from '../deps.js';
import { callerKey } from '../rate-limit.js';
import { implementStream, type Route } from '../route.js';
import { BoundedReads } from '../streams/bounded-reads.js';
import { cursorAhead, type StreamStart, streamStart } from '../streams/cursors.js';
import { DeltaTails } from '../streams/delta-tails.js';
import { FeedSource } from '../streams/feed-source.js';
import { FeedTail } from '../streams/feed-tail.js';
import { Presence } from '../streams/presence.js';
import { RunSource } from '../streams/run-source.js';
import { RunTails } from '../streams/run-tails.js';
import { SessionSource, type SessionStart } from '../streams/session-source.js';
import { SessionTails } from '../streams/session-tails.js';
import { tenantOf } from '../tenancy.js';

/** Live streams of events (decisions.md, "Stream frames"). */
export function streamRoutes(deps: ApiDeps): Route[] {
  const { pool, logger } = deps;
  const presence = new Presence(deps);
  deps.stopping.addEventListener('abort', () => void presence.close(), { once: true });
  const shared = {
    pool,
    reads: new BoundedReads(logger),
    tails: new RunTails({ ...deps, deltas: new DeltaTails({ ...deps, presence }) }),
    sessions: new SessionTails(deps),
  };
  const feed = new FeedTail(deps);
  // Apart from the reads of streams that are open: whoever comes back waits for none of their pages.
  const first = new BoundedReads(logger);
  return [
    implementStream('streamRun', async ({ params: { runId }, query, caller, raw }) => {
      const asked = streamStart(runCursorSchema, raw, query);
      const whose = callerKey(caller);
      return {
        cappedBy: `run/${runId}`,
        open: async () => {
          const { lastSeq } = await first.once(() => readLogState(pool, runId, tenantOf(caller)), whose);
          const cursor = runCursor(asked, lastSeq);
          return new RunSource(shared, { runId, cursor, whose, storedSeq: lastSeq });
        },
      };
    }),
    implementStream('streamFeed', async ({ query, caller, raw }) => {
      const asked = streamStart(feedCursorSchema, raw, query);
      return {
        cappedBy: null,
        open: async () => {
          const edges = await first.once(() => readFeedEdges(pool), callerKey(caller));
          const after = feedCursor(asked, edges);
          return new FeedSource(feed, { after, end: edges.end, tenantId: tenantOf(caller) });
        },
      };
    }),
    implementStream('streamSession', async ({ params: { sessionId }, query, caller, raw }) => {
      const asked = streamStart(sessionCursorSchema, raw, query);
      const turn = 'cursor' in asked ? asked.cursor.turn : 0;
      const whose = callerKey(caller);
      return {
        cappedBy: `session/${sessionId}`,
        open: async () => {
          const scope = { turn, tenantId: tenantOf(caller) };
          const head = await first.once(() => readSessionHead(pool, sessionId, scope), whose);
          return new SessionSource(shared, head, { ...sessionStart(asked, head), whose });
        },
      };
    }),
  ];
}

/** @throws AgentRunError `cursor-ahead`. */
function runCursor(asked: StreamStart<number>, lastSeq: number): number {
  if ('start' in asked) return asked.start === 'latest' ? lastSeq : 0;
  if (asked.cursor > lastSeq) throw cursorAhead(lastSeq);
  return asked.cursor;
}

/** @throws AgentRunError `cursor-ahead`. */
function feedCursor(asked: StreamStart<FeedPosition>, { end, horizon }: FeedEdges): FeedPosition {
  if ('start' in asked) return asked.start === 'latest' ? end : feedStart;
  if (compareFeedPositions(asked.cursor, horizon) > 0) throw cursorAhead();
  return asked.cursor;
}

/** @throws AgentRunError `cursor-ahead`. */
function sessionStart(
  asked: StreamStart<SessionCursor>,
  { last, asked: turn }: SessionHead,
): Omit<SessionStart, 'whose'> {
  const first = { turn: 0, seq: 0 };
  const stored = last === null ? first : { turn: last.turn, seq: last.lastSeq };
  if ('start' in asked) {
    return asked.start === 'latest'
      ? { cursor: stored, runId: last?.runId ?? null, stored }
      : { cursor: first, runId: null, stored };
  }
  const { cursor } = asked;
  // Before the first turn there is one place.
  if (cursor.turn === 0 && cursor.seq === 0) return { cursor, runId: null, stored };
  if (turn === null || cursor.seq > turn.lastSeq) throw cursorAhead(`${stored.turn}.${stored.seq}`);
  return { cursor, runId: turn.runId, stored };
}
