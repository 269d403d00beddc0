import { createHash } from 'node:crypto';
import type { ProducedEvent } from '../../contract/events.js';

/** One event above this becomes a marker; the server's limit of a line is 1 MB (contract: `ingestLimits`). */
const maxEventBytes = 900_000;
/** Limits of one request, below the server's. */
const maxBatchEvents = 900;
const maxBatchBytes = 4_000_000;
/** What may wait in memory while the API is away. */
const maxQueuedBytes = 64 * 1024 * 1024;

interface Queued {
  readonly json: string;
  readonly bytes: number;
}

/**
 * Events on their way, in order. The producer's sequence is a position, not part of an event: the first that waits has
 * `acceptedSeq + 1`, so the server's word about what it has realigns everything behind it.
 */
export class EventQueue {
  #queue: Queued[] = [];
  #bytes = 0;
  #acceptedSeq = 0;
  #lost: { count: number; from: string; to: string } | undefined;

  get size(): number {
    return this.#queue.length;
  }

  get acceptedSeq(): number {
    return this.#acceptedSeq;
  }

  add(event: ProducedEvent): void {
    const at = event.at ?? new Date().toISOString();
    const queued = encode({ ...event, at });
    if (this.#bytes + queued.bytes > maxQueuedBytes) {
      this.#lost = { count: (this.#lost?.count ?? 0) + 1, from: this.#lost?.from ?? at, to: at };
      return;
    }
    if (this.#lost !== undefined) {
      const marker = encode({ type: 'events_lost', at, payload: { ...this.#lost } });
      this.#lost = undefined;
      this.#push(marker);
    }
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
      lines.push(`{"seq":${this.#acceptedSeq + lines.length + 1},"event":${queued.json}}`);
      bytes += queued.bytes + 40;
    }
    return { lines: `${lines.join('\n')}\n`, count: lines.length };
  }

  /** The server has everything up to `lastAcceptedSeq`. Answers whether that changed anything. */
  accepted(lastAcceptedSeq: number): boolean {
    if (lastAcceptedSeq === this.#acceptedSeq) return false;
    const done = this.#queue.splice(0, Math.max(0, lastAcceptedSeq - this.#acceptedSeq));
    for (const one of done) this.#bytes -= one.bytes;
    this.#acceptedSeq = lastAcceptedSeq;
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
  }

  #push(queued: Queued): void {
    this.#queue.push(queued);
    this.#bytes += queued.bytes;
  }
}

function encode(event: ProducedEvent): Queued {
  const json = JSON.stringify(event);
  const bytes = Buffer.byteLength(json);
  if (bytes <= maxEventBytes) return { json, bytes };
  const marker: ProducedEvent = {
    type: 'event_truncated',
    ...(event.at === undefined ? {} : { at: event.at }),
    payload: { originalType: event.type, bytes, sha256: createHash('sha256').update(json).digest('hex') },
  };
  const markerJson = JSON.stringify(marker);
  return { json: markerJson, bytes: Buffer.byteLength(markerJson) };
}
