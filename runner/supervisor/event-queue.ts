import { createHash } from 'node:crypto';
import type { ProducedEvent } from '../../contract/events.js';

/** One event above this becomes a marker; the server's limit of a line is 1 MB (contract: `ingestLimits`). */
const maxEventBytes = 900_000;
/** Limits of one request, below the server's. */
export const maxBatchEvents = 900;
const maxBatchBytes = 4_000_000;
/** What may wait in memory while the API is away. */
export const maxQueuedBytes = 64 * 1024 * 1024;
/** What a line adds to its event. */
const lineOverheadBytes = 40;

interface Queued {
  readonly json: string;
  readonly bytes: number;
}

/** Where the events that wait are also kept, in case this process does not live to send them. */
export interface EventJournal {
  /** One more line waits. Answers false when there is no room: the journal is then rewritten. */
  append(line: string): boolean;
  /** The API has everything up to `seq`; `waiting` lines are left. */
  accepted(seq: number, waiting: number): void;
  /** These lines are all that waits. */
  rewrite(lines: Iterable<string>): void;
}

/**
 * Events on their way, in order. The producer's sequence is a position, not part of an event: the first that waits has
 * `acceptedSeq + 1`, so the server's word about what it has realigns everything behind it.
 */
export class EventQueue {
  readonly #journal: EventJournal | undefined;
  readonly #maxBytes: number;
  #queue: Queued[] = [];
  #bytes = 0;
  #acceptedSeq = 0;
  #lost: { count: number; from: string; to: string } | undefined;

  constructor(
    options: { readonly journal?: EventJournal | undefined; readonly maxBytes?: number | undefined } = {},
  ) {
    this.#journal = options.journal;
    this.#maxBytes = options.maxBytes ?? maxQueuedBytes;
  }

  get size(): number {
    return this.#queue.length;
  }

  get acceptedSeq(): number {
    return this.#acceptedSeq;
  }

  add(event: ProducedEvent): void {
    const at = event.at ?? new Date().toISOString();
    const queued = encode({ ...event, at });
    if (this.#bytes + queued.bytes > this.#maxBytes) {
      this.#lost = { count: (this.#lost?.count ?? 0) + 1, from: this.#lost?.from ?? at, to: at };
      return;
    }
    this.#markLost();
    this.#push(queued);
  }

  /** The NDJSON of the next request, of at most `limit` events; undefined when nothing waits. */
  batch(limit = maxBatchEvents): { lines: string; count: number } | undefined {
    if (this.#queue.length === 0) return undefined;
    const lines: string[] = [];
    let bytes = 0;
    for (const queued of this.#queue) {
      if (lines.length >= Math.min(limit, maxBatchEvents)) break;
      if (lines.length > 0 && bytes + queued.bytes > maxBatchBytes) break;
      lines.push(this.#line(queued, lines.length));
      bytes += queued.bytes;
    }
    return { lines: `${lines.join('\n')}\n`, count: lines.length };
  }

  /** The server has everything up to `lastAcceptedSeq`. Answers whether that changed anything. */
  accepted(lastAcceptedSeq: number): boolean {
    if (lastAcceptedSeq === this.#acceptedSeq) return false;
    const count = lastAcceptedSeq - this.#acceptedSeq;
    const expected = count > 0 && count <= this.#queue.length;
    const done = this.#queue.splice(0, Math.max(0, count));
    for (const one of done) this.#bytes -= one.bytes;
    this.#acceptedSeq = lastAcceptedSeq;
    if (expected) this.#journal?.accepted(lastAcceptedSeq, this.#queue.length);
    else this.#rewriteJournal();
    // There is room now, and no later event may come.
    this.#markLost();
    return true;
  }

  /** The server refuses the first event for good: a marker takes its place. */
  replaceFirst(reason: string): void {
    const first = this.#queue.shift();
    if (first === undefined) return;
    const at = new Date().toISOString();
    const marker = encode({
      type: 'events_lost',
      at,
      payload: { count: 1, from: at, to: at, reason: reason.slice(0, 500) },
    });
    this.#queue.unshift(marker);
    this.#bytes += marker.bytes - first.bytes;
    this.#rewriteJournal();
  }

  /** What did not fit leaves a marker in its place. */
  #markLost(): void {
    if (this.#lost === undefined) return;
    const marker = encode({ type: 'events_lost', at: this.#lost.to, payload: { ...this.#lost } });
    this.#lost = undefined;
    this.#push(marker);
  }

  #push(queued: Queued): void {
    this.#queue.push(queued);
    this.#bytes += queued.bytes;
    if (this.#journal?.append(this.#line(queued, this.#queue.length - 1)) === false) this.#rewriteJournal();
  }

  #rewriteJournal(): void {
    this.#journal?.rewrite(this.#queue.map((queued, index) => this.#line(queued, index)));
  }

  #line(queued: Queued, index: number): string {
    return `{"seq":${this.#acceptedSeq + index + 1},"event":${queued.json}}`;
  }
}

function encode(event: ProducedEvent): Queued {
  const json = JSON.stringify(event);
  const bytes = Buffer.byteLength(json);
  if (bytes <= maxEventBytes) return { json, bytes: bytes + lineOverheadBytes };
  const marker: ProducedEvent = {
    type: 'event_truncated',
    ...(event.at === undefined ? {} : { at: event.at }),
    payload: { originalType: event.type, bytes, sha256: createHash('sha256').update(json).digest('hex') },
  };
  const markerJson = JSON.stringify(marker);
  return { json: markerJson, bytes: Buffer.byteLength(markerJson) + lineOverheadBytes };
}
