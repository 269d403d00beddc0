import { ApiError, backoffMs, type ClientLog, errorLine, isRetryable, pause } from '../../client/index.js';
import type { ProducedEvent } from '../../contract/events.js';
import { type CompletionLine, type IngestAnswer, ingestConflictSchema } from '../../contract/ingest.js';
import { batchLimits } from '../../infra/spill/spill-files.js';
import {
  failureClass,
  isFencing,
  isFinalRefusal,
  isOverload,
  isTokenRefusal,
  isUnacceptable,
} from './api-refusals.js';
import { type EventJournal, EventQueue } from './event-queue.js';

/** Below the time in which the API must have a body (contract: `ingestLimits`). */
export const requestTimeoutMs = 20_000;
/** What the agent says within this time goes in one request: a watcher does not notice, and the store has half the work. */
const coalesceMs = 40;
const retryDelays = { baseDelayMs: 200, maxDelayMs: 10_000 };
/** A conflict that the server's own sequence does not resolve: the run takes no events any more. */
const maxUnresolvedConflicts = 3;
/** Fresh tokens that are refused so often, for so long, end the attempt: while keys are replaced, one replica may not know the new one yet. */
export const lastingRefusal = { refusals: 3, ms: 30_000 } as const;

export interface EventUploaderOptions {
  readonly send: (lines: string, timeoutMs: number) => Promise<IngestAnswer>;
  /** Gets a fresh token for `send`: the API refuses the one that it has. */
  readonly refreshToken: () => Promise<void>;
  /** The server takes no more events of this attempt. */
  readonly onFenced: (reason: string) => void;
  readonly log: ClientLog;
  /** Keeps what waits, in case this process does not live to send it, and what memory has no room for. */
  readonly journal?: EventJournal | undefined;
  /** What may wait in memory; without a journal more becomes an `events_lost` marker. */
  readonly memoryLimits?: { readonly bytes: number; readonly events: number } | undefined;
  /** Nothing is sent before this; it must resolve in bounded time. */
  readonly after?: Promise<void> | undefined;
}

interface Request {
  readonly lines: string;
  readonly events: number;
  /** It carries the completion line. */
  readonly completes: boolean;
}

/**
 * Uploads the events of one attempt in order, exactly once (architecture.md 6): one request in flight, and all that came meanwhile goes with the next
 * one, which is whole at once, so that a proxy that collects bodies holds nothing back. Repeats for as long as the supervisor lives; its self-fence is
 * the bound. A sender that follows another one of the same attempt asks first what the API has.
 */
export class EventUploader {
  readonly #queue: EventQueue;
  readonly #options: EventUploaderOptions;
  readonly #after: Promise<void>;
  readonly #log: ClientLog;
  readonly #stopping = new AbortController();
  readonly #waiting = new Set<() => void>();
  /** Ends the present wait between two tries. */
  #hurry = new AbortController();
  #running = false;
  #coalescing: NodeJS.Timeout | undefined;
  /** Events of one request: fewer than usual while a refused batch is taken apart or the API is too slow for more. */
  #batchLimit: number = batchLimits.events;
  #isSlow = false;
  #isSynced: boolean;
  #completion: 'open' | 'wanted' | 'apart' | 'sent' = 'open';
  #conflicts = 0;
  #isTokenFresh = false;
  /** Of fresh tokens, since the API took events last; by the clock of `performance`. */
  #refused: { readonly count: number; readonly sinceMs: number } | undefined;
  #unheard = 0;

  constructor(options: EventUploaderOptions) {
    this.#options = options;
    this.#queue = new EventQueue({ journal: options.journal, limits: options.memoryLimits });
    this.#after = options.after ?? Promise.resolve();
    this.#log = options.log;
    this.#isSynced = options.journal?.left === undefined;
    if (!this.#isSynced) this.#start();
  }

  /** How many events the API does not have yet. */
  get size(): number {
    return this.#queue.size;
  }

  /** Sequence of the newest event, as it stands now. */
  get lastSeq(): number {
    return this.#queue.lastSeq;
  }

  add(event: ProducedEvent): void {
    if (this.#stopping.signal.aborted) return;
    if (this.#completion !== 'open') {
      this.#unheard += 1;
      if (this.#unheard === 1) this.#log.warn({ type: event.type }, 'an event comes after the last one');
      return;
    }
    this.#queue.add(event);
    this.#start();
  }

  /** Resolves when nothing waits any more, or after `timeoutMs`; answers whether everything was accepted. */
  async flush(timeoutMs: number): Promise<boolean> {
    if (this.#running && !this.#stopping.signal.aborted) {
      this.#beginDrain();
      this.#hurry.abort();
      await new Promise<void>((resolve) => {
        const finish = (): void => {
          clearTimeout(timer);
          this.#waiting.delete(finish);
          resolve();
        };
        const timer = setTimeout(finish, timeoutMs);
        this.#waiting.add(finish);
      });
    }
    return this.#queue.size === 0;
  }

  /**
   * No event follows: sends what waits and then the completion line. Answers whether the API has all of it after at most `timeoutMs`; it goes on
   * trying, and this may be called again.
   */
  async complete(timeoutMs: number): Promise<boolean> {
    if (this.#completion === 'open') this.#completion = 'wanted';
    if (this.#completion !== 'sent' && !this.#stopping.signal.aborted) this.#start();
    await this.flush(timeoutMs);
    return this.#completion === 'sent';
  }

  /** Gives up what is left. */
  stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#coalescing);
    this.#wake();
  }

  #start(): void {
    if (this.#running) return;
    this.#running = true;
    this.#coalescing = setTimeout(() => this.#beginDrain(), coalesceMs);
  }

  /** Ends the time of collecting, if it lasts. */
  #beginDrain(): void {
    if (this.#coalescing === undefined) return;
    clearTimeout(this.#coalescing);
    this.#coalescing = undefined;
    void this.#drain();
  }

  async #drain(): Promise<void> {
    const stopped = this.#stopping.signal;
    await this.#after;
    for (let failures = 0; !stopped.aborted; ) {
      const request = this.#next();
      if (request === undefined) break;
      try {
        const { lastAcceptedSeq } = await this.#options.send(request.lines, requestTimeoutMs);
        failures = 0;
        this.#taken(request, lastAcceptedSeq);
      } catch (error) {
        if (stopped.aborted) break;
        failures += 1;
        if (await this.#handleRefusal(error, request)) continue;
        // The first such answer may be chance; the next ones may be the size of what is asked.
        if (failures > 1 && isOverload(error)) this.#halve(request.events);
        await this.#wait(error, failures);
      }
    }
    this.#running = false;
    this.#wake();
  }

  #next(): Request | undefined {
    if (!this.#isSynced) return { lines: '', events: 0, completes: false };
    const batch = this.#queue.batch(this.#batchLimit);
    const events = batch?.count ?? 0;
    const isLast = events === this.#queue.size;
    const completes =
      isLast && (this.#completion === 'wanted' || (this.#completion === 'apart' && events === 0));
    if (!completes) return batch === undefined ? undefined : { lines: batch.lines, events, completes };
    const completion: CompletionLine = { complete: { finalSeq: this.#queue.acceptedSeq + events } };
    return { lines: `${batch?.lines ?? ''}${JSON.stringify(completion)}\n`, events, completes };
  }

  #taken(request: Request, lastAcceptedSeq: number): void {
    this.#conflicts = 0;
    this.#isTokenFresh = false;
    this.#refused = undefined;
    this.#isSynced = true;
    this.#queue.accepted(lastAcceptedSeq);
    if (request.completes && this.#queue.size === 0) this.#completion = 'sent';
    if (this.#isSlow) this.#batchLimit = Math.min(batchLimits.events, Math.max(1, request.events) * 2);
    this.#isSlow = this.#batchLimit < batchLimits.events;
  }

  #halve(events: number): void {
    this.#batchLimit = Math.max(1, Math.floor(events / 2));
    this.#isSlow = true;
  }

  async #wait(error: unknown, failures: number): Promise<void> {
    this.#isTokenFresh = false;
    const delayMs = backoffMs(
      retryDelays,
      failures,
      error instanceof ApiError ? error.retryAfterSeconds : undefined,
    );
    this.#log.warn(
      {
        attempt: failures,
        class: failureClass(error),
        delayMs,
        waiting: this.#queue.size,
        ...errorLine(error),
      },
      'events were not taken',
    );
    this.#hurry = new AbortController();
    await pause(delayMs, AbortSignal.any([this.#stopping.signal, this.#hurry.signal]));
  }

  /** Whether the refusal was dealt with, so that the next request may follow at once. */
  async #handleRefusal(error: unknown, request: Request): Promise<boolean> {
    if (isTokenRefusal(error)) return this.#refreshToken(error);
    if (isFencing(error)) return this.#fence(`ingest: ${error.failureKind}`);
    if (isUnacceptable(error)) return this.#takeApart(error, request);
    if (!isRetryable(error) && isFinalRefusal(error) && error.status === 409) return this.#realign(error);
    return false;
  }

  /** A token may have been replaced, or outlived by an outage. The end is that fresh ones are refused again and again. */
  async #refreshToken(refusal: ApiError): Promise<boolean> {
    if (this.#isTokenFresh) return this.#freshRefused(refusal);
    this.#log.warn({ ...errorLine(refusal) }, 'the token is refused: a fresh one is asked for');
    try {
      await this.#options.refreshToken();
      this.#isTokenFresh = true;
      return true;
    } catch (error) {
      if (isFencing(error)) return this.#fence(`token: ${error.failureKind}`);
      this.#log.warn({ ...errorLine(error) }, 'there is no fresh token');
      return false;
    }
  }

  #freshRefused(refusal: ApiError): boolean {
    const now = performance.now();
    const { count, sinceMs } = this.#refused ?? { count: 0, sinceMs: now };
    this.#refused = { count: count + 1, sinceMs };
    const forMs = Math.round(now - sinceMs);
    this.#log.warn(
      { refusals: count + 1, forMs, endsAfterMs: lastingRefusal.ms, ...errorLine(refusal) },
      'a fresh token is refused: if that lasts, the attempt ends',
    );
    if (count + 1 < lastingRefusal.refusals || forMs < lastingRefusal.ms) return false;
    return this.#fence(`ingest: ${refusal.failureKind}`);
  }

  /** One of the lines is refused for good: it alone is replaced by a marker. */
  #takeApart(error: ApiError, { events, completes }: Request): boolean {
    this.#log.warn({ events, ...errorLine(error) }, 'the API refuses an event');
    const known = error.details?.lastAcceptedSeq;
    const before = this.#queue.acceptedSeq;
    if (events > 1 && typeof known === 'number' && known >= before && known < before + events) {
      // What came before it is stored, so it is the next.
      this.#queue.accepted(known);
      this.#batchLimit = 1;
      this.#isSlow = true;
      return true;
    }
    if (completes && events > 0) {
      this.#completion = 'apart';
      return true;
    }
    if (events > 1) {
      this.#halve(events);
      return true;
    }
    if (events === 0) {
      // The completion line itself: all events are stored, so nothing is lost with it.
      if (completes) this.#completion = 'sent';
      return completes;
    }
    const reason = `refused by the API: ${error.message}`;
    if (this.#queue.replaceFirst({ tooLarge: error.status === 413, reason })) return true;
    return this.#fence(`ingest refuses even a marker: ${error.message}`);
  }

  #realign(error: ApiError): boolean {
    const reason = ingestConflictSchema.safeParse(error.details?.reason).data;
    if (reason === 'completed' || reason === 'ended') return this.#fence(`ingest: ${error.message}`);
    const lastAcceptedSeq = error.details?.lastAcceptedSeq;
    if (typeof lastAcceptedSeq === 'number' && this.#queue.accepted(lastAcceptedSeq)) {
      this.#log.warn({ lastAcceptedSeq }, 'realigned with the sequence of the API');
      return true;
    }
    this.#conflicts += 1;
    if (this.#conflicts < maxUnresolvedConflicts) return false;
    return this.#fence(`ingest: ${error.message}`);
  }

  #fence(reason: string): true {
    this.stop();
    this.#options.onFenced(reason);
    return true;
  }

  #wake(): void {
    for (const finish of this.#waiting) finish();
  }
}
