import type { z } from 'zod';
import type { ApiClient, StreamInput, StreamRoute } from '../api-client.js';
import { ApiError, StreamExhausted } from '../api-errors.js';
import { errorLine, errorText } from '../error-text.js';
import type { ClientLog } from '../retry.js';
import type { DeliveredFrame, StreamFrame, StreamOptions } from './open-stream.js';
import { nextWatchState, type WatchEvent, type WatchState } from './watch-state.js';
import { type WatchedFrame, WatchedFrames } from './watched-frames.js';

/** Who watches. What throws here is logged and disturbs nobody else. */
export interface StreamSubscriber<Frame extends StreamFrame> {
  /** All there is, in order, before anything else; again when the stream was begun anew. It takes the place of everything that was told before. */
  onSnapshot(frames: readonly WatchedFrame<Frame>[]): void;
  /** What has come since, in order, gathered for up to 16 ms or 50 frames. */
  onFrames(frames: readonly WatchedFrame<Frame>[]): void;
  /** The present state first, then each other one; `ended` and `failed` come after the last frames. */
  onState?(state: WatchState<Frame>): void;
}

/** How a stream is watched. */
export interface WatchOptions extends Pick<StreamOptions, 'budget' | 'silenceMs'> {
  readonly log?: ClientLog;
}

/** requirements.md A.1.b 43 */
const gatherMs = 16;
const mostGathered = 50;
/** After so long a stream may be begun anew once more. */
const anewAgainMs = 60_000;

type Open<Frame extends StreamFrame> = (
  how: StreamOptions,
) => AsyncGenerator<DeliveredFrame<Frame>, void, undefined>;

interface Subscription<Frame extends StreamFrame> {
  readonly subscriber: StreamSubscriber<Frame>;
  /** Its caller has had the time to take the means to unsubscribe. */
  isWelcome: boolean;
  /** What is live is for those who know what was before. */
  hasSnapshot: boolean;
}

/**
 * Watches a stream of the contract for many subscribers over one connection: what was there when it came as one snapshot, then what follows
 * (requirements.md A.1.b 34 to 43). It begins with the first subscriber and closes with the last. The frames are kept for those who come later.
 *
 * @example
 * const watcher = watchStream(client, routes.streamRun, { params: { runId } });
 * const unsubscribe = watcher.subscribe({ onSnapshot: show, onFrames: add, onState: tell });
 */
export function watchStream<Route extends StreamRoute>(
  client: ApiClient,
  route: Route,
  input: StreamInput<Route>,
  options: WatchOptions = {},
): StreamWatcher<z.output<Route['data']>> {
  return new StreamWatcher((how) => client.stream(route, input, { ...options, ...how }), options.log);
}

export class StreamWatcher<Frame extends StreamFrame> {
  readonly #open: Open<Frame>;
  readonly #log: ClientLog | undefined;
  readonly #subscriptions = new Set<Subscription<Frame>>();
  #state: WatchState<Frame> = { kind: 'idle' };
  /** Everything since the beginning. */
  #seen = new WatchedFrames<Frame>();
  /** What is to be told next. */
  #batch: WatchedFrame<Frame>[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stop = new AbortController();
  #begunAnewAt: number | undefined;

  constructor(open: Open<Frame>, log?: ClientLog) {
    this.#open = open;
    this.#log = log;
  }

  get state(): WatchState<Frame> {
    return this.#state;
  }

  /** The terminal status of a run whose terminal event has come. It does not change any more, and trailing events may follow it (39, 40). */
  terminalStatusOf(runId: string): string | undefined {
    return this.#seen.terminalStatusOf(runId);
  }

  /** @returns what ends the subscription; the last one closes the connection. */
  subscribe(subscriber: StreamSubscriber<Frame>): () => void {
    const subscription: Subscription<Frame> = {
      subscriber,
      isWelcome: false,
      hasSnapshot: false,
    };
    this.#subscriptions.add(subscription);
    if (this.#subscriptions.size === 1) this.#begin();
    queueMicrotask(() => this.#welcome(subscription));
    return () => {
      if (this.#subscriptions.delete(subscription) && this.#subscriptions.size === 0) this.#leave();
    };
  }

  /** Begins a stream anew that was given up, with new budgets. */
  retry(): void {
    if (this.#state.kind === 'failed') this.#begin();
  }

  #begin(): void {
    this.#begunAnewAt = undefined;
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.#follow(signal).catch((error: unknown) => this.#enter({ kind: 'failed', error }, signal));
  }

  #leave(): void {
    const { signal } = this.#stop;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#batch = [];
    this.#seen = new WatchedFrames();
    this.#enter({ kind: 'left' }, signal);
    this.#stop.abort();
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const onState: StreamOptions['onState'] = (state) => this.#enter({ kind: 'connection', state }, signal);
    for (;;) {
      this.#seen = new WatchedFrames();
      this.#enter({ kind: 'begun' }, signal);
      try {
        for await (const frame of this.#open({ signal, onState })) this.#take(frame, signal);
        return;
      } catch (error) {
        if (signal.aborted || !this.#mayBeginAnew(error)) {
          this.#enter({ kind: 'failed', error }, signal);
          return;
        }
        this.#log?.warn(errorLine(error), `a watched stream is begun anew: ${errorText(error)}`);
      }
    }
  }

  /** Once, when the budget is used up or the server has lost what this reader knows of; again only after good times (42). */
  #mayBeginAnew(error: unknown): boolean {
    const isAhead = error instanceof ApiError && error.failureKind === 'cursor-ahead';
    if (!(isAhead || error instanceof StreamExhausted) || this.#begunAnewAt !== undefined) return false;
    this.#begunAnewAt = performance.now();
    return true;
  }

  #take(frame: DeliveredFrame<Frame>, signal: AbortSignal): void {
    if (this.#begunAnewAt !== undefined && performance.now() - this.#begunAnewAt >= anewAgainMs)
      this.#begunAnewAt = undefined;
    if (isWatched(frame)) {
      this.#seen.add(frame);
      if (this.#state.kind === 'live') this.#gather(frame);
      return;
    }
    const begins = this.#state.kind === 'bootstrapping';
    if (begins) for (const subscription of this.#subscriptions) this.#tellSnapshot(subscription);
    if (isEnd(frame)) this.#enter({ kind: 'stream-end', end: frame.data }, signal);
    else if (begins) this.#enter({ kind: 'caught-up' }, signal);
  }

  #gather(frame: WatchedFrame<Frame>): void {
    this.#batch.push(frame);
    if (this.#batch.length >= mostGathered) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), gatherMs);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#batch.length === 0) return;
    const frames = this.#batch;
    this.#batch = [];
    for (const { subscriber, hasSnapshot } of this.#subscriptions) {
      if (hasSnapshot) this.#guard(() => subscriber.onFrames(frames));
    }
  }

  /** Who comes later gets what there is, merged (38). */
  #welcome(subscription: Subscription<Frame>): void {
    if (!this.#subscriptions.has(subscription)) return;
    subscription.isWelcome = true;
    const { kind } = this.#state;
    if (kind === 'live' || kind === 'ended') {
      this.#flush();
      this.#tellSnapshot(subscription);
    }
    this.#guard(() => subscription.subscriber.onState?.(this.#state));
  }

  #tellSnapshot(subscription: Subscription<Frame>): void {
    if (!subscription.isWelcome) return;
    subscription.hasSnapshot = true;
    const frames = this.#seen.all();
    this.#guard(() => subscription.subscriber.onSnapshot(frames));
  }

  /** Callbacks may unsubscribe: what comes from a stream that was left then is nothing any more. */
  #enter(event: WatchEvent<Frame>, signal: AbortSignal): void {
    if (signal.aborted) return;
    const state = nextWatchState(this.#state, event);
    if (state === this.#state) return;
    this.#flush();
    if (signal.aborted) return;
    this.#state = state;
    for (const { subscriber, isWelcome } of this.#subscriptions) {
      if (isWelcome) this.#guard(() => subscriber.onState?.(state));
    }
  }

  #guard(tell: () => void): void {
    try {
      tell();
    } catch (error) {
      this.#log?.warn(errorLine(error), `a subscriber of a stream failed: ${errorText(error)}`);
    }
  }
}

function isWatched<Frame extends StreamFrame>(
  frame: DeliveredFrame<Frame>,
): frame is DeliveredFrame<Frame> & WatchedFrame<Frame> {
  return frame.frame === 'event' || frame.frame === 'delta' || frame.frame === 'gap';
}

function isEnd<Frame extends StreamFrame>(
  frame: DeliveredFrame<Frame>,
): frame is DeliveredFrame<Frame> & Extract<Frame, { readonly frame: 'stream-end' }> {
  return frame.frame === 'stream-end';
}
