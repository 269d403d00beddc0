import {
  ApiError,
  backoffMs,
  type ClientLog,
  ConnectionError,
  errorLine,
  isRetryable,
  pause,
} from '../../client/index.js';
import type { ProducedEvent } from '../../contract/events.js';
import type { IngestAnswer } from '../../contract/ingest.js';
import { isFencing, isFinalRefusal } from './api-refusals.js';
import { type EventJournal, EventQueue, maxBatchEvents } from './event-queue.js';

const requestTimeoutMs = 20_000;
/** What the agent says within this time goes in one request: a watcher does not notice, and the store has half the work. */
const coalesceMs = 40;
const retryDelays = { baseDelayMs: 200, maxDelayMs: 10_000 };
/** A conflict that the server's own sequence does not resolve: the run takes no events any more. */
const maxUnresolvedConflicts = 3;

/**
 * Uploads the events of one attempt in order, exactly once (architecture.md 6): one request in flight, and all that
 * came meanwhile goes with the next one. Repeats for as long as the supervisor lives; its self-fence is the bound.
 */
export class EventUploader {
  readonly #queue: EventQueue;
  readonly #after: Promise<void>;
  readonly #send: (lines: string, timeoutMs: number) => Promise<IngestAnswer>;
  readonly #onFenced: (reason: string) => void;
  readonly #log: ClientLog;
  readonly #stopping = new AbortController();
  readonly #waiting = new Set<() => void>();
  #running = false;
  #coalescing: NodeJS.Timeout | undefined;
  /** Events of one request: 1 while a refused batch is taken apart, fewer than usual while the API is too slow for more. */
  #batchLimit = maxBatchEvents;
  #conflicts = 0;

  constructor(options: {
    readonly send: (lines: string, timeoutMs: number) => Promise<IngestAnswer>;
    /** The server takes no more events of this attempt. */
    readonly onFenced: (reason: string) => void;
    readonly log: ClientLog;
    /** Keeps what waits, in case this process does not live to send it. */
    readonly journal?: EventJournal | undefined;
    /** What may wait in memory; more becomes an `events_lost` marker. */
    readonly maxQueuedBytes?: number | undefined;
    /** Nothing is sent before this; it must resolve in bounded time. */
    readonly after?: Promise<void> | undefined;
  }) {
    this.#queue = new EventQueue({ journal: options.journal, maxBytes: options.maxQueuedBytes });
    this.#after = options.after ?? Promise.resolve();
    this.#send = options.send;
    this.#onFenced = options.onFenced;
    this.#log = options.log;
  }

  /** Whether the API has everything. */
  get complete(): boolean {
    return this.#queue.size === 0;
  }

  add(event: ProducedEvent): void {
    if (this.#stopping.signal.aborted) return;
    this.#queue.add(event);
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

  /** Resolves when nothing waits any more, or after `timeoutMs`; answers whether everything was accepted. */
  async flush(timeoutMs: number): Promise<boolean> {
    if (!this.#running || this.#stopping.signal.aborted) return this.#queue.size === 0;
    this.#beginDrain();
    await new Promise<void>((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(finish);
        resolve();
      };
      const timer = setTimeout(finish, timeoutMs);
      this.#waiting.add(finish);
    });
    return this.#queue.size === 0;
  }

  /** Gives up what is left. */
  stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#coalescing);
    this.#wake();
  }

  async #drain(): Promise<void> {
    const stopped = this.#stopping.signal;
    await this.#after;
    let slow = false;
    for (let failures = 0; !stopped.aborted; ) {
      const batch = this.#queue.batch(this.#batchLimit);
      if (batch === undefined) break;
      try {
        const answer = await this.#send(batch.lines, requestTimeoutMs);
        failures = 0;
        this.#conflicts = 0;
        this.#batchLimit = slow ? Math.min(maxBatchEvents, batch.count * 2) : maxBatchEvents;
        slow = this.#batchLimit < maxBatchEvents;
        this.#queue.accepted(answer.lastAcceptedSeq);
      } catch (error) {
        failures += 1;
        if (this.#handleRefusal(error, batch.count)) continue;
        if (stopped.aborted) break;
        // The first such answer may be chance; the next ones may be the size of what is asked.
        if (failures > 1 && isOverload(error)) {
          this.#batchLimit = Math.max(1, Math.floor(batch.count / 2));
          slow = true;
        }
        const delayMs = backoffMs(
          retryDelays,
          failures,
          error instanceof ApiError ? error.retryAfterSeconds : undefined,
        );
        this.#log.warn(
          { attempt: failures, delayMs, waiting: this.#queue.size, ...errorLine(error) },
          'events were not taken',
        );
        await pause(delayMs, stopped);
      }
    }
    this.#running = false;
    this.#wake();
  }

  /** Whether the refusal was dealt with, so that the next batch may follow at once. */
  #handleRefusal(error: unknown, count: number): boolean {
    if (isFencing(error)) {
      this.#fence(`ingest: ${error.failureKind}`);
      return true;
    }
    if (!(error instanceof ApiError) || isRetryable(error)) return false;
    if (error.status === 409 && isFinalRefusal(error)) return this.#realign(error);
    // Whatever stands before the API may have a limit of its own; any other word of it is not the API's.
    if (error.status === 413 || (isFinalRefusal(error) && [400, 422].includes(error.status))) {
      if (count > 1) this.#batchLimit = 1;
      else this.#queue.replaceFirst(`refused by the API: ${error.message}`);
      this.#log.warn({ count, ...errorLine(error) }, 'the API refuses an event');
      return true;
    }
    return false;
  }

  #realign(error: ApiError): boolean {
    const lastAcceptedSeq = error.details?.lastAcceptedSeq;
    if (typeof lastAcceptedSeq === 'number' && this.#queue.accepted(lastAcceptedSeq)) {
      this.#log.warn({ lastAcceptedSeq }, 'realigned with the sequence of the API');
      return true;
    }
    this.#conflicts += 1;
    if (this.#conflicts < maxUnresolvedConflicts) return false;
    this.#fence(`ingest: ${error.message}`);
    return true;
  }

  #fence(reason: string): void {
    this.stop();
    this.#onFenced(reason);
  }

  #wake(): void {
    for (const finish of this.#waiting) finish();
  }
}

/** No answer in time, or one that says that it would have been too late. */
function isOverload(error: unknown): boolean {
  if (error instanceof ConnectionError) return error.reason === 'timeout';
  return error instanceof ApiError && (error.status === 503 || error.status === 504);
}
