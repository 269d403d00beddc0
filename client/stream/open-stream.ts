import type { FeedFrame, RunStreamFrame, SessionStreamFrame } from '../../contract/streams.js';
import { ApiError, ConnectionError, isRetryable, StreamError, StreamExhausted } from '../api-errors.js';
import { pause } from '../backoff.js';
import { errorLine, errorText } from '../error-text.js';
import type { ClientLog } from '../retry.js';
import { type BudgetLimits, ReconnectBudget } from './reconnect-budget.js';
import type { SseFrame } from './sse-frames.js';
import { StreamConnection, type StreamRequest } from './stream-connection.js';
import { StreamCursor } from './stream-cursor.js';

/** Any frame of any stream of the contract. */
export type StreamFrame = RunStreamFrame | SessionStreamFrame | FeedFrame;
/** Frames that say something of the stream; the others say something of the connection. */
type DeliveredName = 'event' | 'delta' | 'caught-up' | 'gap' | 'stream-end';
/** What a reader of a stream gets. */
export type DeliveredFrame<Frame extends StreamFrame> = Extract<Frame, { readonly frame: DeliveredName }>;

/** How a connection is. */
export type StreamState =
  | { readonly kind: 'connected' }
  /** After the failure `error`; `attempt` counts from 1. */
  | { readonly kind: 'waiting'; readonly attempt: number; readonly delayMs: number; readonly error: unknown };

/** How a stream is read. */
export interface StreamOptions {
  /** Ends the stream, without an error. */
  readonly signal?: AbortSignal | undefined;
  /** Told of each connection, and of each wait for the next one. */
  readonly onState?: ((state: StreamState) => void) | undefined;
  /** How often it may be connected anew; default 9 times in a row, 30 in all. */
  readonly budget?: Partial<BudgetLimits> | 'unlimited' | undefined;
  /** A connection that says nothing for so long, in milliseconds, is dead; default 60 s, four keepalives. */
  readonly silenceMs?: number | undefined;
}

/** Where a stream begins that is opened. */
export interface StreamPlace {
  /** Id of the last event that is known; what comes is behind it. Beats `start`. */
  readonly after?: string | undefined;
  /** Only what comes from now on. Default: from the first event. */
  readonly start?: 'latest' | undefined;
}

/** A stream as the client of the API asks for it. */
export interface StreamLeg<Frame extends StreamFrame> {
  readonly route: string;
  /** The next request; the token is read for each. */
  request(place: StreamPlace): StreamRequest;
  /** @throws ConnectionError `invalid-answer`. */
  parse(frame: unknown): Frame;
  readonly log?: ClientLog | undefined;
  readonly onRefused?: ((status: number, attempt: number) => void) | undefined;
}

/** How a connection ended that did not fail. */
type Ending = { readonly kind: 'ended' } | { readonly kind: 'rotated'; readonly ageMs: number };

const defaultSilenceMs = 60_000;
const known: Readonly<Record<StreamFrame['frame'], true>> = {
  event: true,
  delta: true,
  'caught-up': true,
  gap: true,
  keepalive: true,
  rotated: true,
  'stream-end': true,
  error: true,
};

/**
 * Reads a stream over as many connections as it takes; only `stream-end` is its end (requirements.md A.1.b 31 to 33, 40 to 42). Nobody who does not ask for
 * the next frame is read for. Who leaves the loop, or aborts, leaves nothing behind.
 *
 * @throws StreamExhausted the budget is used up; ApiError a refusal that stays; ConnectionError `invalid-answer`.
 */
export async function* openStream<Frame extends StreamFrame>(
  leg: StreamLeg<Frame>,
  place: StreamPlace,
  how: StreamOptions,
): AsyncGenerator<DeliveredFrame<Frame>, void, undefined> {
  const budget = new ReconnectBudget(how.budget);
  const cursor = new StreamCursor(place.after);
  const { signal } = how;
  for (let number = 1; !isAborted(signal); number += 1) {
    const connection = new StreamConnection(
      leg.request(cursor.id === undefined ? place : { after: cursor.id }),
      how.silenceMs ?? defaultSilenceMs,
      signal,
    );
    let delayMs: number;
    try {
      await connection.open();
      budget.connected();
      how.onState?.({ kind: 'connected' });
      const ending = yield* framesOf(leg, connection, cursor, budget);
      if (ending.kind === 'ended') return;
      delayMs = budget.rotated(ending.ageMs);
    } catch (error) {
      if (isAborted(signal)) return;
      if (error instanceof ApiError) leg.onRefused?.(error.status, number);
      delayMs = delayAfter(error, { leg, how, budget, connectedForMs: connection.ageMs });
    } finally {
      connection.close();
    }
    await pause(delayMs, signal);
  }
}

// A function, since the compiler takes it for settled once it has been looked at.
const isAborted = (signal: AbortSignal | undefined): boolean => signal?.aborted === true;

async function* framesOf<Frame extends StreamFrame>(
  leg: StreamLeg<Frame>,
  connection: StreamConnection,
  cursor: StreamCursor,
  budget: ReconnectBudget,
): AsyncGenerator<DeliveredFrame<Frame>, Ending, undefined> {
  for (;;) {
    const arrived = await connection.next();
    if (arrived === undefined) {
      throw new ConnectionError(
        'network',
        `${leg.route}: the connection was closed before the end of the stream`,
      );
    }
    for (const raw of arrived) {
      if (raw.data === undefined) {
        budget.heardEvent();
        if (raw.id !== undefined) cursor.moveTo(raw.id);
        continue;
      }
      const frame = read(leg, raw, raw.data);
      if (frame === undefined) continue;
      const ending = take(frame, cursor, budget);
      if (ending === 'rotated') return { kind: 'rotated', ageMs: connection.ageMs };
      if (ending === 'skipped' || !isDelivered(frame)) continue;
      connection.checkOpen();
      yield frame;
      if (ending === 'ended') return { kind: 'ended' };
    }
  }
}

/** What a frame means for the connection; the one place where it is decided. */
function take(
  frame: StreamFrame,
  cursor: StreamCursor,
  budget: ReconnectBudget,
): 'delivered' | 'skipped' | 'rotated' | 'ended' {
  switch (frame.frame) {
    case 'event':
      budget.heardEvent();
      return cursor.moveTo(frame.id) ? 'delivered' : 'skipped';
    case 'caught-up':
      // Whoever asked for the latest only, and has seen none yet, goes on from here.
      if (frame.data.seq !== '') cursor.moveTo(String(frame.data.seq));
      return 'delivered';
    case 'gap':
      cursor.moveOverGap(String(frame.data.to));
      return 'delivered';
    case 'delta':
      return 'delivered';
    case 'keepalive':
      budget.heardKeepalive();
      return 'skipped';
    case 'rotated':
      return 'rotated';
    case 'stream-end':
      return 'ended';
    case 'error':
      throw new StreamError(frame.data.failureKind, frame.data.message);
  }
}

function isDelivered<Frame extends StreamFrame>(frame: Frame): frame is DeliveredFrame<Frame> {
  return frame.frame !== 'keepalive' && frame.frame !== 'rotated' && frame.frame !== 'error';
}

/** A frame of a name that is known; later versions may have others. */
function read<Frame extends StreamFrame>(
  leg: StreamLeg<Frame>,
  raw: SseFrame,
  text: string,
): Frame | undefined {
  const name = raw.name === undefined || raw.name === 'message' ? 'event' : raw.name;
  if (!Object.hasOwn(known, name)) return undefined;
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    throw new ConnectionError('invalid-answer', `${leg.route}: the data of a frame is no JSON`);
  }
  return leg.parse({ frame: name, id: raw.id, data });
}

/**
 * How long to wait until the next connection, in milliseconds.
 *
 * @throws the error itself if it is final; StreamExhausted.
 */
function delayAfter<Frame extends StreamFrame>(
  error: unknown,
  {
    leg,
    how,
    budget,
    connectedForMs,
  }: { leg: StreamLeg<Frame>; how: StreamOptions; budget: ReconnectBudget; connectedForMs: number },
): number {
  if (error instanceof ApiError && error.status === 401) {
    const delayMs = budget.unauthorized();
    if (delayMs === undefined) throw error;
    return told({ attempt: 1, delayMs, error }, leg, how);
  }
  if (!(error instanceof StreamError || isRetryable(error))) throw error;
  const retryAfterSeconds = error instanceof ApiError ? error.retryAfterSeconds : undefined;
  const kind = error instanceof StreamError ? 'server' : 'transport';
  const next = budget.failed(kind, { connectedForMs, retryAfterSeconds });
  if (next.kind === 'exhausted') {
    const message = `${leg.route}: gave up after ${next.attempts} attempts to connect again`;
    leg.log?.warn(
      { attempts: next.attempts, route: leg.route, ...errorLine(error) },
      `${message}: ${errorText(error)}`,
    );
    throw new StreamExhausted(message, { cause: error });
  }
  return told({ ...next, error }, leg, how);
}

function told<Frame extends StreamFrame>(
  { attempt, delayMs, error }: { attempt: number; delayMs: number; error: unknown },
  leg: StreamLeg<Frame>,
  how: StreamOptions,
): number {
  leg.log?.warn(
    { attempt, delayMs, route: leg.route, ...errorLine(error) },
    `${leg.route}: the stream was cut: ${errorText(error)}; connecting again in ${delayMs} ms`,
  );
  how.onState?.({ kind: 'waiting', attempt, delayMs, error });
  return delayMs;
}
