import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { type ClientLog, errorLine } from '../../client/index.js';
import { ownFile } from '../../infra/spill/regular-file.js';
import { segmentPath, segmentsAmong } from '../../infra/spill/spill-files.js';
import {
  eventRecord,
  eventsIn,
  markAfter,
  markRecord,
  noMark,
  type SpilledEvent,
  type SpillMark,
  wholeEventIn,
} from '../../infra/spill/spill-format.js';
import { SpillLines, spillLimits } from '../../infra/spill/spill-lines.js';
import type { EventJournal } from './event-queue.js';

/** A segment of which everything was accepted is emptied once it has this size; before that a mark is cheaper. */
const emptyFromBytes = 64 * 1024;
/** Read at once; more than the longest line. */
const readBytes = 4 * 1024 * 1024;
const readFlags = constants.O_RDONLY | ownFile;

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
  #nextIndex = 0;

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
    let isReadable = true;
    const lines = new SpillLines();
    for (const { epoch, index, path } of segmentsAmong(this.#folder, readdirSync(this.#folder))) {
      if (epoch !== this.#epoch) continue;
      // Also behind those that cannot be read: a new one would take their place.
      this.#nextIndex = index + 1;
      if (!isReadable) continue;
      const segment: Segment = { index, path, bytes: 0, lastOrdinal: 0 };
      const after = this.#adoptSegment(segment, lines, mark);
      isReadable = after !== undefined;
      if (after === undefined) continue;
      mark = after;
      this.#segments.push(segment);
      this.#bytes += segment.bytes;
      last = Math.max(last, segment.lastOrdinal);
    }
    // Of files alone that cannot be read the next sender asks the API where it is.
    if (this.#nextIndex === 0) return undefined;
    return { mark, waiting: Math.max(0, last - mark.accepted) };
  }

  /** Takes what a segment says and answers the mark behind it; undefined for what is no file of ours. */
  #adoptSegment(segment: Segment, lines: SpillLines, before: SpillMark): SpillMark | undefined {
    let mark = before;
    const take = (line: string) => {
      mark = markAfter(line, mark);
      segment.lastOrdinal = wholeEventIn(line)?.seq ?? segment.lastOrdinal;
    };
    let file: number | undefined;
    try {
      file = openSync(segment.path, readFlags);
      if (!fstatSync(file).isFile()) return undefined;
      const part = Buffer.alloc(readBytes);
      for (let read = -1; read !== 0; segment.bytes += read) {
        read = readSync(file, part, 0, part.length, segment.bytes);
        // A copy: the beginning of a line is kept until its end is read.
        for (const line of lines.add(Buffer.from(part.subarray(0, read)))) take(line);
      }
      for (const line of lines.end()) take(line);
      return mark;
    } catch (error) {
      this.#log.warn({ path: segment.path, ...errorLine(error) }, 'a spill of this attempt cannot be read');
      return undefined;
    } finally {
      if (file !== undefined) closeSync(file);
    }
  }

  /** Begins a new segment. Nothing is written through a link: whatever stands there is replaced. */
  #open(): void {
    const index = this.#nextIndex;
    this.#nextIndex += 1;
    const path = segmentPath(this.#folder, this.#epoch, index);
    rmSync(path, { force: true });
    const former = this.#file;
    this.#file = openSync(path, 'wx', 0o600);
    this.#segments.push({ index, path, bytes: 0, lastOrdinal: 0 });
    if (former !== undefined) closeSync(former);
  }

  /** The last segment goes last, with the marks that are in it: what an earlier one holds would seem to wait without them. */
  #empty(): void {
    if (this.#file === undefined) return;
    while (this.#segments.length > 1) this.#removeFirst();
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
