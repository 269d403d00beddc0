import { type LogRead, readLogs } from '../../store/log-reads.js';
import type { Pool } from '../../store/pool.js';
import type { BoundedReads } from './bounded-reads.js';
import type { SeenText } from './delta-tails.js';
import { framesOf, type Place, pieceOf } from './log-frames.js';
import { ReadSize } from './read-size.js';
import type { RunEnd, RunTail } from './run-tail.js';
import type { RunTails } from './run-tails.js';

const pageLimits = { events: 200, bytes: 256 * 1_024 } as const;
const nothing = Buffer.alloc(0);

/** What all readers of logs share in one process. */
export interface LogReaders {
  readonly pool: Pool;
  readonly reads: BoundedReads;
  readonly tails: RunTails;
}

/** Which log is read, and for whom. */
export interface LogStart {
  readonly runId: string;
  readonly cursor: number;
  /** The caller; pages are read in turn with those of others. */
  readonly whose: string;
}

/**
 * Reads the log of one run in order, each event once: pages from Postgres while it is behind, then the tail that all readers of the run share. One that
 * falls behind the tail reads pages again.
 */
export class RunReader {
  readonly #shared: LogReaders;
  readonly #runId: string;
  readonly #whose: string;
  readonly #place: Place;
  /** A page that fails may have been too large. */
  readonly #size = new ReadSize();
  #cursor: number;
  #tail: RunTail | null;
  #end: RunEnd | undefined;
  readonly #seen: SeenText = new Map();

  constructor(shared: LogReaders, { runId, cursor, whose }: LogStart, place: Place) {
    this.#shared = shared;
    this.#runId = runId;
    this.#whose = whose;
    this.#place = place;
    this.#cursor = cursor;
    // Whoever comes back in time reads on where it was, without Postgres.
    this.#tail = shared.tails.joinIfCovered(runId, cursor);
  }

  /** The seq up to which everything has been answered. */
  get cursor(): number {
    return this.#cursor;
  }

  /** Set when nothing will follow. */
  get end(): RunEnd | undefined {
    return this.#end;
  }

  /** The next frames, as soon as there are some; empty at the {@link end}, and when `signal` is aborted. */
  async next(signal: AbortSignal): Promise<Buffer> {
    while (!signal.aborted && this.#end === undefined) {
      const bytes = await this.#step(signal);
      if (bytes.length > 0) return bytes;
    }
    return nothing;
  }

  async #step(signal: AbortSignal): Promise<Buffer> {
    const tail = this.#tail;
    if (tail === null || !tail.covers(this.#cursor)) return this.#page(signal);
    const found = tail.after(this.#cursor, this.#place);
    if (found !== undefined) {
      this.#cursor = found.cursor;
      return found.bytes;
    }
    this.#end = tail.end;
    if (this.#end !== undefined) return nothing;
    // One that has read more than the tail may have the event of an item whose text is still live there.
    const live = this.#cursor === tail.head ? tail.texts.after(this.#seen) : '';
    if (live !== '') return Buffer.from(live);
    await tail.changed(signal);
    return nothing;
  }

  async #page(signal: AbortSignal): Promise<Buffer> {
    const read = await this.#shared.reads.read(() => this.#readPage(), signal, this.#whose);
    if (read === undefined) {
      this.#end = { kind: 'deleted' };
      return nothing;
    }
    const piece = pieceOf(this.#cursor, read);
    const bytes = Buffer.from(framesOf(piece, this.#cursor, this.#place));
    this.#cursor = piece.to;
    if (this.#cursor >= read.lastSeq) {
      if (read.isClosed) this.#end = { kind: 'closed', state: read };
      else this.#tail ??= this.#shared.tails.join(this.#runId, this.#cursor);
    }
    return bytes;
  }

  async #readPage(): Promise<LogRead | undefined> {
    const cursor = { runId: this.#runId, afterSeq: this.#cursor };
    const limits = { events: this.#size.of(pageLimits.events), bytes: this.#size.of(pageLimits.bytes) };
    const found = await this.#size.measured(() => readLogs(this.#shared.pool, [cursor], limits));
    return found.get(this.#runId);
  }

  close(): void {
    if (this.#tail !== null) this.#shared.tails.leave(this.#runId);
    this.#tail = null;
  }
}
