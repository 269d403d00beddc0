import { type ApiClient, errorText, isRetryable, noRetry, pause } from '../client/index.js';
import type { EventPage, RunEvent } from '../contract/events.js';
import { routes } from '../contract/routes/index.js';

/** Where a watcher is: the run, and the last seq of it that was shown. */
export interface WatchCursor {
  readonly runId: string;
  readonly seq: number;
}

export interface WatchOptions {
  readonly client: ApiClient;
  readonly sessionId: string;
  /** Exclusive; null: from the beginning of the active or last turn. */
  readonly from: WatchCursor | null;
  /** Go on when a turn has ended, and wait for the next. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
  /** Called once per page with its events, in order; the cursor is where to go on from afterwards. */
  readonly onEvents: (events: readonly RunEvent[], cursor: WatchCursor) => void;
  /** Called once when the API does not answer, with the reason, and once with null when it is back. */
  readonly onWaiting?: (reason: string | null) => void;
}

const pageLimit = 500;
const waitMs = 25_000;
const idlePollMs = 1_000;
/** A turn that begins in this instant is on the next page. */
const againMs = 50;

/**
 * Shows a session's events by long poll, turn after turn (contract.md 3.5). An API that is away is waited for: the cursor loses nothing.
 *
 * @returns the last turn's terminal status, or null when none was seen.
 */
export async function watchSession(options: WatchOptions): Promise<string | null> {
  let cursor = options.from;
  let status: string | null = null;
  while (!options.signal.aborted) {
    const page = await readPage(options, cursor);
    if (page === undefined) break;
    const last = page.items.at(-1);
    if (last !== undefined) {
      cursor = { runId: last.runId, seq: last.seq };
      options.onEvents(page.items, cursor);
      if (last.type === 'terminal_status') status = terminalStatusOf(last);
    }
    if (page.items.length > 0 && page.hasMore) continue;
    if (page.runId !== null && !page.terminal) continue;
    if (options.signal.aborted) break;
    if (page.nextRunId !== null) {
      cursor = { runId: page.nextRunId, seq: 0 };
      continue;
    }
    const next = await afterLastTurn(options, page.runId);
    if (next === 'ended') return status;
    await pause(next === 'again' ? againMs : idlePollMs, options.signal);
  }
  return status;
}

async function readPage(options: WatchOptions, cursor: WatchCursor | null): Promise<EventPage | undefined> {
  for (let waiting = false; ; ) {
    try {
      const page = await options.client.call(
        routes.getSessionTrace,
        {
          params: { sessionId: options.sessionId },
          query: {
            afterSeq: cursor?.seq ?? 0,
            limit: pageLimit,
            waitMs,
            ...(cursor === null ? {} : { runId: cursor.runId }),
          },
        },
        {
          timeoutMs: waitMs + 10_000,
          signal: options.signal,
          // This loop repeats, for as long as the watcher is left alone.
          retry: noRetry,
        },
      );
      if (waiting) options.onWaiting?.(null);
      return page;
    } catch (error) {
      if (options.signal.aborted) return undefined;
      // A watcher outlives a restart of the API; a refusal, or an answer of another version, is final.
      if (!isRetryable(error)) throw error;
      if (!waiting) options.onWaiting?.(errorText(error));
      waiting = true;
      await pause(idlePollMs, options.signal);
      if (options.signal.aborted) return undefined;
    }
  }
}

/** After the last turn that has begun: look again at once, wait for another one, or the end of the watch. */
async function afterLastTurn(
  options: WatchOptions,
  endedRunId: string | null,
): Promise<'again' | 'wait' | 'ended'> {
  try {
    const session = await options.client.call(
      routes.getSession,
      { params: { sessionId: options.sessionId } },
      { signal: options.signal },
    );
    // Begun since the page was read.
    if ((session.activeRunId ?? session.lastRunId) !== endedRunId) return 'again';
    if (session.active || session.queuedTurns > 0) return 'wait';
  } catch (error) {
    if (options.signal.aborted) return 'ended';
    if (isRetryable(error)) return 'wait';
    throw error;
  }
  return options.follow ? 'wait' : 'ended';
}

function terminalStatusOf(event: RunEvent): string | null {
  const status = event.payload.terminalStatus;
  return typeof status === 'string' ? status : null;
}
