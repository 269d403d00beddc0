import {
  type ApiClient,
  ApiError,
  type DeliveredFrame,
  isRetryable,
  noRetry,
  type StreamOptions,
} from '../client/index.js';
import type { RunEvent } from '../contract/events.js';
import { routes } from '../contract/routes/index.js';
import type { RunRecord } from '../contract/runs.js';
import { type SessionCursor, type SessionStreamFrame, sessionCursorSchema } from '../contract/streams.js';
import { paced, within } from './paced.js';
import { cursorText, isAfter, type WatchPlace } from './watch-cursor.js';

/** What a watcher gets of a session's stream. */
export type WatchFrame = DeliveredFrame<SessionStreamFrame>;

export interface WatchOptions {
  readonly client: ApiClient;
  readonly sessionId: string;
  /** Exclusive; null: from the beginning of the active or last turn. */
  readonly from: WatchPlace | null;
  /** Go on when the last turn has ended, and wait for the next. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
  /** Called with frames in order; those that come quickly come together. */
  readonly onFrames: (frames: readonly WatchFrame[]) => void;
  /** What comes within so many milliseconds of the last call waits for the next; default 0: each frame by itself. */
  readonly paceMs?: number;
  /** Told of each connection, and of each wait for the next one. */
  readonly onState?: StreamOptions['onState'];
}

/** How a watch ended that was not stopped. */
export interface WatchEnd {
  /** The last turn's terminal status; null when there is none. */
  readonly status: string | null;
  /** The last turn, when its end was not among what was shown. */
  readonly unshown: RunRecord | null;
}

/** How often it is looked whether a turn that waits was cancelled: at first, and at most. */
const looksMs = { first: 250, most: 5_000 };
const lookAfterMs = (looks: number) =>
  looks === 0 ? 0 : Math.min(looksMs.most, looksMs.first * 2 ** Math.min(looks - 1, 10));

/**
 * Shows a session's events live by its stream, turn after turn. An API that goes away is waited for: the cursor loses nothing. Without `follow` it
 * ends when the last turn has ended and none waits; in any case with the session.
 *
 * @throws ApiError the session, or the run of `from`, is not there; the cursor is ahead of the stream. ConnectionError the API was not reached at first.
 */
export async function watchSession(options: WatchOptions): Promise<WatchEnd> {
  const start = await startOf(options);
  if (start === undefined) return { status: null, unshown: null };
  const reader = new SessionReader(options, start);
  const stop = new AbortController();
  const stream = options.client.stream(
    routes.streamSession,
    { params: { sessionId: options.sessionId }, after: cursorText(start.cursor) },
    {
      signal: AbortSignal.any([options.signal, stop.signal]),
      budget: 'unlimited',
      onState: options.onState,
    },
  );
  const groups = paced(stream, options.paceMs ?? 0);
  let next = groups.next();
  try {
    for (let looks = 0; ; ) {
      const arrived = reader.rests ? await within(next, lookAfterMs(looks), options.signal) : await next;
      if (arrived === 'late') {
        if (await isOver(options, reader)) break;
        looks += 1;
        continue;
      }
      if (arrived.done === true) break;
      looks = 0;
      reader.take(arrived.value);
      next = groups.next();
    }
  } finally {
    stop.abort();
    // It was not read to its end; what it was about to say does not matter any more.
    await next.catch(() => undefined);
    await stream.return();
  }
  if (reader.status !== null) return { status: reader.status, unshown: null };
  const unshown = await unshownRun(options, start);
  return { status: unshown?.terminalStatus ?? null, unshown };
}

/** Where to begin; `hiddenUntil`: a run that waits behind other turns, which are not shown. */
interface Start {
  readonly cursor: SessionCursor;
  readonly hiddenUntil: string | null;
}

/** What was read, and what of it is shown. */
class SessionReader {
  readonly #options: WatchOptions;
  #hiddenUntil: string | null;
  #place: SessionCursor;
  #last: RunEvent | undefined;
  #caughtUp = false;
  /** How the last turn ended that was shown. */
  status: string | null = null;

  constructor(options: WatchOptions, start: Start) {
    this.#options = options;
    this.#place = start.cursor;
    this.#hiddenUntil = start.hiddenUntil;
  }

  /** The last event that was read, shown or not. */
  get place(): SessionCursor {
    return this.#place;
  }

  /** Everything stored was read, and no turn is seen to go on: the moment to look whether another one comes. */
  get rests(): boolean {
    return (
      !this.#options.follow &&
      this.#caughtUp &&
      (this.#last === undefined || this.#last.type === 'terminal_status')
    );
  }

  take(frames: readonly WatchFrame[]): void {
    const shown = frames.filter((frame) => this.#read(frame));
    if (shown.length > 0) this.#options.onFrames(shown);
  }

  /** Whether it is shown. */
  #read(frame: WatchFrame): boolean {
    if (frame.frame === 'caught-up') this.#caughtUp = true;
    if (frame.frame === 'event') {
      const { id, data } = frame;
      this.#place = sessionCursorSchema.parse(id);
      this.#last = data;
      if (data.runId === this.#hiddenUntil) this.#hiddenUntil = null;
      if (this.#hiddenUntil === null && data.type === 'terminal_status') this.status = statusOf(data);
    }
    return this.#hiddenUntil === null || frame.frame === 'stream-end';
  }
}

/** undefined: aborted. */
async function startOf({ client, sessionId, from, signal }: WatchOptions): Promise<Start | undefined> {
  try {
    if (from !== null && 'runId' in from) {
      const { runId } = from;
      const run = await client.call(routes.getRun, { params: { runId } }, { signal });
      if (run.sessionId !== sessionId) {
        const message = `run ${runId} is not one of session ${sessionId}`;
        throw new ApiError({ status: 404, failureKind: 'not-found', message });
      }
      if (run.sessionTurn !== null)
        return { cursor: { turn: run.sessionTurn, seq: from.seq }, hiddenUntil: null };
    }
    const { turns } = await client.call(routes.getSession, { params: { sessionId } }, { signal });
    if (from !== null && 'turn' in from) return { cursor: from, hiddenUntil: null };
    return { cursor: { turn: turns, seq: 0 }, hiddenUntil: from?.runId ?? null };
  } catch (error) {
    if (signal.aborted) return undefined;
    throw error;
  }
}

/** Whether the last turn has been read to its end and none waits behind it. */
async function isOver(
  { client, sessionId, signal }: WatchOptions,
  { place }: SessionReader,
): Promise<boolean> {
  const how = { signal, retry: noRetry };
  try {
    const session = await client.call(routes.getSession, { params: { sessionId } }, how);
    if (session.active || session.queuedTurns > 0) return false;
    if (session.lastRunId === null) return true;
    if (isAfter({ turn: session.turns, seq: 0 }, place)) return false;
    const rest = await client.call(
      routes.getSessionTrace,
      {
        params: { sessionId },
        query: { runId: session.lastRunId, afterSeq: place.seq, limit: 1 },
      },
      how,
    );
    return rest.terminal && rest.items.length === 0;
  } catch (error) {
    if (signal.aborted) return true;
    // The stream waits for the API too, and knows when the session is gone.
    if (isRetryable(error)) return false;
    throw error;
  }
}

/** The last turn, of which nothing was left to show; a run that was cancelled while it waited had no turn. */
async function unshownRun(
  { client, sessionId, signal }: WatchOptions,
  { hiddenUntil }: Start,
): Promise<RunRecord | null> {
  if (signal.aborted) return null;
  try {
    const session = await client.call(routes.getSession, { params: { sessionId } }, { signal });
    const runId = hiddenUntil ?? session.lastRunId;
    if (runId === null) return null;
    return await client.call(routes.getRun, { params: { runId } }, { signal });
  } catch (error) {
    // It was deleted, which the stream has said.
    if (signal.aborted || (error instanceof ApiError && error.failureKind === 'not-found')) return null;
    throw error;
  }
}

function statusOf(event: RunEvent): string | null {
  const status = event.payload.terminalStatus;
  return typeof status === 'string' ? status : null;
}
