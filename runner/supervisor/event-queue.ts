import type { ProducedEvent } from '../../contract/events.js';
import { batchLimits } from '../../infra/spill/spill-files.js';
import type { SpilledEvent, SpillMark } from '../../infra/spill/spill-format.js';
import { type Loss, lossMarker, type Queued, queued, queuedEvent, refusalMarker } from './queued-event.js';

/** What may wait in memory while the API is away; what is beyond waits in the journal alone. */
export const memoryLimits = { bytes: 32 * 1024 * 1024, events: 20_000 } as const;

/** Where the events that wait are also kept, in case this process does not live to send them, and those that memory has no room for. */
export interface EventJournal {
  /** What a former sender of the same attempt left, if there was one: it is read back first. */
  readonly left: { readonly mark: SpillMark; readonly waiting: number } | undefined;
  /** Keeps one more. False: there is no room, or it cannot be written. */
  append(event: SpilledEvent): boolean;
  /** Reads on: the next events in order, some megabytes, those that do not wait any more among them. None: they cannot be read. */
  next(): readonly SpilledEvent[];
  /** The API has everything up to the mark; `waiting` events are left. */
  accepted(mark: SpillMark, waiting: number): void;
}

/**
 * Events on their way, in order: the oldest in memory, what it has no room for behind them in the journal. The producer's sequence is a position, not
 * part of an event: an event's ordinal and a shift, so the server's word about what it has realigns everything that waits.
 */
export class EventQueue {
  readonly #journal: EventJournal | undefined;
  readonly #limits: { readonly bytes: number; readonly events: number };
  #head: Queued[] = [];
  #headBytes = 0;
  /** Ordinal of the last event that does not wait any more. */
  #done: number;
  #shift: number;
  /** How many wait behind those in memory. */
  #spilled: number;
  #spilledSince = '';
  #lost: Loss | undefined;
  /** How many a former sender of the attempt left, until the server has said what it has. */
  #former: number | undefined;

  constructor(
    options: {
      readonly journal?: EventJournal | undefined;
      readonly limits?: { readonly bytes: number; readonly events: number } | undefined;
    } = {},
  ) {
    this.#journal = options.journal;
    this.#limits = options.limits ?? memoryLimits;
    const left = this.#journal?.left;
    this.#done = left?.mark.accepted ?? 0;
    this.#shift = left?.mark.shift ?? 0;
    this.#spilled = left?.waiting ?? 0;
    this.#former = left?.waiting;
    this.#spilledSince = new Date().toISOString();
  }

  get size(): number {
    return this.#head.length + this.#spilled;
  }

  get acceptedSeq(): number {
    return this.#done + this.#shift;
  }

  /** Sequence of the newest event, as it stands now. */
  get lastSeq(): number {
    return this.acceptedSeq + this.size;
  }

  add(event: ProducedEvent): void {
    const at = event.at ?? new Date().toISOString();
    if (this.#markLost() && this.#put(queuedEvent({ ...event, at }), at)) return;
    this.#lost = { count: (this.#lost?.count ?? 0) + 1, from: this.#lost?.from ?? at, to: at };
  }

  /** The NDJSON of the next request, of at most `limit` events; undefined when nothing waits. */
  batch(limit: number = batchLimits.events): { lines: string; count: number } | undefined {
    this.#readBack();
    if (this.#head.length === 0) return undefined;
    const lines: string[] = [];
    let bytes = 0;
    for (const one of this.#head) {
      if (lines.length >= Math.min(limit, batchLimits.events)) break;
      if (lines.length > 0 && bytes + one.bytes > batchLimits.bytes) break;
      lines.push(`{"seq":${this.acceptedSeq + lines.length + 1},"event":${one.json}}\n`);
      bytes += one.bytes;
    }
    return { lines: lines.join(''), count: lines.length };
  }

  /** The server has everything up to `lastAcceptedSeq`. Answers whether that changed anything. */
  accepted(lastAcceptedSeq: number): boolean {
    const count = lastAcceptedSeq - this.acceptedSeq;
    const former = this.#former;
    this.#former = undefined;
    if (count === 0) return false;
    if (former !== undefined && count > former) {
      // It has more than the former sender is known to have sent, which is all of that one's; what was added since is new.
      this.#remove(former);
      this.#shift += count - former;
    }
    // Of another count than ours it says nothing about what waits but where it goes on.
    else if (count < 0 || count > this.size) this.#shift += count;
    else this.#remove(count);
    this.#journal?.accepted({ accepted: this.#done, shift: this.#shift }, this.size);
    // There is room now, and no later event may come.
    this.#markLost();
    return true;
  }

  /** The server refuses the first event for good: a marker takes its place. False when that was one already. */
  replaceFirst(refusal: { readonly tooLarge: boolean; readonly reason: string }): boolean {
    const [first] = this.#head;
    const marker = first === undefined ? undefined : refusalMarker(first, refusal);
    if (first === undefined || marker === undefined) return false;
    // The journal keeps the event: a later attempt that brings it replaces it likewise.
    this.#head[0] = marker;
    this.#headBytes += marker.bytes - first.bytes;
    return true;
  }

  #remove(count: number): void {
    const removed = this.#head.splice(0, count);
    for (const one of removed) this.#headBytes -= one.bytes;
    this.#done += count;
    this.#spilled -= count - removed.length;
  }

  /** What had no room leaves a marker where it would have been. False: there is none for the marker either. */
  #markLost(): boolean {
    if (this.#lost === undefined) return true;
    if (!this.#put(lossMarker(this.#lost), this.#lost.to)) return false;
    this.#lost = undefined;
    return true;
  }

  #put(one: Queued, at: string): boolean {
    const isInMemory =
      this.#spilled === 0 &&
      this.#head.length < this.#limits.events &&
      this.#headBytes + one.bytes <= this.#limits.bytes;
    const isKept = this.#journal?.append({ ordinal: this.#done + this.size + 1, json: one.json }) ?? false;
    if (isInMemory) this.#push(one);
    else if (!isKept) return false;
    else {
      if (this.#spilled === 0) this.#spilledSince = at;
      this.#spilled += 1;
    }
    return true;
  }

  #push(one: Queued): void {
    this.#head.push(one);
    this.#headBytes += one.bytes;
  }

  /** Memory is filled from the journal only when it is empty, so that the order is kept without a look at it. */
  #readBack(): void {
    while (this.#head.length === 0 && this.#spilled > 0) {
      const read = this.#journal?.next() ?? [];
      // It begins with those that were in memory too, and with those of a former sender that are known to be accepted.
      const waiting = read.filter(({ ordinal }) => ordinal > this.#done);
      const isWhole = waiting.every(({ ordinal }, index) => ordinal === this.#done + index + 1);
      if (read.length === 0 || !isWhole || waiting.length > this.#spilled) {
        this.#giveUpSpilled();
        return;
      }
      for (const { json } of waiting) this.#push(queued(json));
      this.#spilled -= waiting.length;
    }
  }

  /** They cannot be read: a marker says so, and their ordinals are not used again. */
  #giveUpSpilled(): void {
    const count = this.#spilled;
    this.#spilled = 0;
    this.#done += count;
    this.#shift -= count;
    this.#lost = {
      count: count + (this.#lost?.count ?? 0),
      from: this.#spilledSince,
      to: new Date().toISOString(),
      reason: 'what waited on the session storage cannot be read',
    };
    this.#journal?.accepted({ accepted: this.#done, shift: this.#shift }, 0);
    this.#markLost();
  }
}
