import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { type ClientLog, errorLine } from '../../client/index.js';
import { segmentPath, segmentsAmong } from '../../infra/spill/spill-files.js';
import {
  eventRecord,
  eventsIn,
  markAfter,
  markRecord,
  noMark,
  type SpilledEvent,
  type SpillMark,
  wholeEventsIn,
} from '../../infra/spill/spill-format.js';
import type { EventJournal } from './event-queue.js';

/** `bytes`: what may wait on the session's storage, ten minutes of 400 KB per second. A segment is removed when all of it is accepted. */
export const spillLimits = { bytes: 256 * 1024 * 1024, segmentBytes: 8 * 1024 * 1024 } as const;
/** A segment of which everything was accepted is emptied once it has this size; before that a mark is cheaper. */
const emptyFromBytes = 64 * 1024;
/** Read at once; more than the longest line. */
const readBytes = 4 * 1024 * 1024;
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

interface Segment {
  readonly index: number;
  readonly path: string;
  bytes: number;
  lastOrdinal: number;
}

/**
 * The events of one attempt that the API has not acknowledged yet, in files that survive a kill of this process (no fsync: the kernel keeps what was
 * written). Lines are events with their ordinal, and marks of what was accepted (infra/spill/spill-format.ts). Written synchronously, because the
 * moment after `add` may be the last. Files that cannot be written are given up with a log line; what is in them can still be read.
 */
export class EventSpill implements EventJournal {
  readonly left: { readonly mark: SpillMark; readonly waiting: number } | undefined;
  readonly #folder: string;
  readonly #epoch: number;
  readonly #log: ClientLog;
  readonly #limits: { readonly bytes: number; readonly segmentBytes: number };
  readonly #segments: Segment[] = [];
  /** Of the last segment. */
  #file: number | undefined;
  #bytes = 0;
  #reading = { index: 0, offset: 0 };

  constructor(
    folder: string,
    epoch: number,
    log: ClientLog,
    limits: { readonly bytes: number; readonly segmentBytes: number } = spillLimits,
  ) {
    this.#folder = folder;
    this.#epoch = epoch;
    this.#log = log;
    this.#limits = limits;
    this.left = this.#guard(() => {
      const left = this.#adopt();
      this.#open();
      return left;
    });
  }

  append(event: SpilledEvent): boolean {
    const line = Buffer.from(`${eventRecord(event)}\n`);
    if (this.#file === undefined || this.#bytes + line.length > this.#limits.bytes) return false;
    return (
      this.#guard(() => {
        const { bytes } = this.#last;
        if (bytes > 0 && bytes + line.length > this.#limits.segmentBytes) this.#open();
        this.#write(line);
        this.#last.lastOrdinal = event.ordinal;
        return true;
      }) === true
    );
  }

  next(): SpilledEvent[] {
    return this.#guard(() => this.#next()) ?? [];
  }

  accepted(mark: SpillMark, waiting: number): void {
    if (this.#file === undefined) return;
    this.#guard(() => {
      if (waiting === 0 && this.#last.bytes >= emptyFromBytes) this.#empty();
      this.#write(Buffer.from(`${markRecord(mark)}\n`));
      // The mark is written first: what is removed is not needed to know what was accepted.
      while (this.#segments.length > 1 && (this.#segments[0]?.lastOrdinal ?? 0) <= mark.accepted)
        this.#removeFirst();
    });
  }

  /** Nothing follows. `complete`: nothing is left to upload either. */
  close(complete: boolean): void {
    const file = this.#file;
    this.#file = undefined;
    this.#guard(() => {
      if (file !== undefined) closeSync(file);
      while (complete && this.#segments.length > 0) this.#removeFirst();
    });
  }

  get #last(): Segment {
    const last = this.#segments.at(-1);
    if (last === undefined) throw new Error('the spill has no file');
    return last;
  }

  /** What a former sender of this very attempt left is read back first, and is followed by a new segment. */
  #adopt(): EventSpill['left'] {
    let mark = noMark;
    let last = 0;
    for (const { epoch, index, path } of segmentsAmong(this.#folder, readdirSync(this.#folder))) {
      if (epoch !== this.#epoch) continue;
      const text = this.#readWhole(path);
      if (text === undefined) break;
      mark = markAfter(text, mark);
      const lastOrdinal = [...wholeEventsIn(text)].at(-1)?.seq ?? 0;
      const bytes = Buffer.byteLength(text);
      this.#segments.push({ index, path, bytes, lastOrdinal });
      this.#bytes += bytes;
      last = Math.max(last, lastOrdinal);
    }
    if (this.#segments.length === 0) return undefined;
    return { mark, waiting: Math.max(0, last - mark.accepted) };
  }

  /** Undefined for what is no file of ours. */
  #readWhole(path: string): string | undefined {
    let file: number | undefined;
    try {
      file = openSync(path, readFlags);
      return fstatSync(file).isFile() ? readFileSync(file, 'utf8') : undefined;
    } catch (error) {
      this.#log.warn({ path, ...errorLine(error) }, 'a spill of this attempt cannot be read');
      return undefined;
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }

  /** Begins a new segment. Nothing is written through a link: whatever stands there is replaced. */
  #open(): void {
    const index = (this.#segments.at(-1)?.index ?? -1) + 1;
    const path = segmentPath(this.#folder, this.#epoch, index);
    rmSync(path, { force: true });
    const former = this.#file;
    this.#file = openSync(path, 'wx', 0o600);
    this.#segments.push({ index, path, bytes: 0, lastOrdinal: 0 });
    if (former !== undefined) closeSync(former);
  }

  #empty(): void {
    if (this.#file === undefined) return;
    ftruncateSync(this.#file, 0);
    this.#bytes -= this.#last.bytes;
    this.#last.bytes = 0;
    this.#reading = { index: this.#last.index, offset: 0 };
  }

  #removeFirst(): void {
    const first = this.#segments.shift();
    if (first === undefined) return;
    this.#bytes -= first.bytes;
    rmSync(first.path, { force: true });
  }

  #write(data: Buffer): void {
    if (this.#file === undefined) return;
    const last = this.#last;
    // A position of its own: after emptying, the descriptor's would leave a hole.
    for (let done = 0; done < data.length; )
      done += writeSync(this.#file, data, done, data.length - done, last.bytes + done);
    last.bytes += data.length;
    this.#bytes += data.length;
  }

  #next(): SpilledEvent[] {
    for (const segment of this.#segments) {
      if (segment.index < this.#reading.index) continue;
      if (segment.index > this.#reading.index) this.#reading = { index: segment.index, offset: 0 };
      for (;;) {
        const text = readPart(segment, this.#reading.offset);
        if (text === '') break;
        this.#reading.offset += Buffer.byteLength(text);
        const events = eventsIn(text);
        if (events.length > 0) return events;
      }
    }
    return [];
  }

  #guard<T>(act: () => T): T | undefined {
    try {
      return act();
    } catch (error) {
      this.#log.warn({ folder: this.#folder, ...errorLine(error) }, 'events are not spilled any more');
      const file = this.#file;
      this.#file = undefined;
      if (file !== undefined) closeSync(file);
      return undefined;
    }
  }
}

/** The whole lines from an offset on, some megabytes at most; empty at the end. */
function readPart({ path, bytes }: Segment, offset: number): string {
  const part = Buffer.alloc(Math.min(readBytes, bytes - offset));
  const file = openSync(path, readFlags);
  try {
    let length = 0;
    for (let read = -1; read !== 0 && length < part.length; length += read)
      read = readSync(file, part, length, part.length - length, offset + length);
    return part.toString('utf8', 0, part.lastIndexOf(10, Math.max(0, length - 1)) + 1);
  } finally {
    closeSync(file);
  }
}
