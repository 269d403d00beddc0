import type { StreamFrame, StreamState } from './open-stream.js';

/** Between two connections; null while one is open. */
type Waiting = Extract<StreamState, { readonly kind: 'waiting' }> | null;

/** Where a watcher is (requirements.md A.1.b 34). */
export type WatchState<Frame extends StreamFrame = StreamFrame> =
  /** Nobody watches. */
  | { readonly kind: 'idle' }
  /** Reads what was there when it came. */
  | { readonly kind: 'bootstrapping'; readonly waiting: Waiting }
  | { readonly kind: 'live'; readonly waiting: Waiting }
  /** Nothing will follow. */
  | { readonly kind: 'ended'; readonly end: StreamEnd<Frame> }
  /** Given up; `retry()` begins anew. */
  | { readonly kind: 'failed'; readonly error: unknown };

/** What `stream-end` says. */
export type StreamEnd<Frame extends StreamFrame> = Extract<Frame, { readonly frame: 'stream-end' }>['data'];

/** What happens to a watcher. */
export type WatchEvent<Frame extends StreamFrame> =
  | { readonly kind: 'begun' }
  | { readonly kind: 'caught-up' }
  | { readonly kind: 'connection'; readonly state: StreamState }
  | { readonly kind: 'stream-end'; readonly end: StreamEnd<Frame> }
  | { readonly kind: 'failed'; readonly error: unknown }
  | { readonly kind: 'left' };

/** The one place where the state is decided. What ended stays ended, as long as somebody watches. */
export function nextWatchState<Frame extends StreamFrame>(
  state: WatchState<Frame>,
  event: WatchEvent<Frame>,
): WatchState<Frame> {
  if (event.kind === 'left') return { kind: 'idle' };
  if (state.kind === 'ended') return state;
  switch (event.kind) {
    case 'begun':
      return { kind: 'bootstrapping', waiting: null };
    case 'caught-up':
      return { kind: 'live', waiting: null };
    case 'connection': {
      const waiting = event.state.kind === 'waiting' ? event.state : null;
      if (state.kind !== 'bootstrapping' && state.kind !== 'live') return state;
      return state.waiting === waiting ? state : { ...state, waiting };
    }
    case 'stream-end':
      return { kind: 'ended', end: event.end };
    case 'failed':
      return { kind: 'failed', error: event.error };
  }
}
