import { closeSync, ftruncateSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { type ClientLog, errorLine } from '../../client/index.js';
import { type IngestLine, ingestLineSchema } from '../../contract/ingest.js';
import type { EventJournal } from './event-queue.js';

/** More than the queue itself can hold, so that a rewritten file always has room again. */
export const maxSpillBytes = 96 * 1024 * 1024;
/** A file of which everything was accepted is emptied once it has this size; before that a mark is cheaper. */
const emptyFromBytes = 64 * 1024;

const markSchema = z.strictObject({ accepted: z.number().int().nonnegative() });

/**
 * The events of one attempt that the API has not acknowledged yet, in a file that survives a kill of this process (no fsync: the kernel keeps what was
 * written). Lines are those of ingest with their producer's sequence, and marks `{"accepted": n}`: everything up to n is stored. Written
 * synchronously, because the moment after `add` may be the last. A file that cannot be written is given up with a log line.
 */
export class EventSpill implements EventJournal {
  readonly #path: string;
  readonly #log: ClientLog;
  readonly #maxBytes: number;
  #file: number | undefined;
  #bytes = 0;

  constructor(path: string, log: ClientLog, maxBytes = maxSpillBytes) {
    this.#path = path;
    this.#log = log;
    this.#maxBytes = maxBytes;
    try {
      this.#file = openSync(path, 'w', 0o600);
    } catch (error) {
      this.#giveUp(error);
    }
  }

  append(line: string): boolean {
    if (this.#file === undefined) return true;
    if (this.#bytes + Buffer.byteLength(line) > this.#maxBytes) return false;
    this.#write(`${line}\n`);
    return true;
  }

  accepted(seq: number, waiting: number): void {
    if (waiting > 0 || this.#bytes < emptyFromBytes) {
      this.append(JSON.stringify({ accepted: seq }));
      return;
    }
    this.#guard((file) => {
      ftruncateSync(file, 0);
      this.#bytes = 0;
    });
  }

  rewrite(lines: Iterable<string>): void {
    this.#guard((former) => {
      const fresh = `${this.#path}.new`;
      this.#file = openSync(fresh, 'w', 0o600);
      this.#bytes = 0;
      closeSync(former);
      for (const line of lines) this.#write(`${line}\n`);
      renameSync(fresh, this.#path);
    });
  }

  /** Nothing follows. `complete`: nothing is left to upload either. */
  close(complete: boolean): void {
    this.#guard((file) => {
      this.#file = undefined;
      closeSync(file);
    });
    if (!complete) return;
    try {
      rmSync(this.#path, { force: true });
    } catch (error) {
      this.#log.warn({ ...errorLine(error) }, 'the spill was not removed');
    }
  }

  #write(text: string): void {
    this.#guard((file) => {
      // A position of its own: after emptying, the descriptor's would leave a hole.
      const data = Buffer.from(text);
      for (let done = 0; done < data.length; )
        done += writeSync(file, data, done, data.length - done, this.#bytes + done);
      this.#bytes += data.length;
    });
  }

  #guard(act: (file: number) => void): void {
    if (this.#file === undefined) return;
    try {
      act(this.#file);
    } catch (error) {
      this.#giveUp(error);
    }
  }

  #giveUp(error: unknown): void {
    this.#log.warn({ path: this.#path, ...errorLine(error) }, 'events are not spilled any more');
    this.#file = undefined;
  }
}

/** The lines of a spill that were not marked as accepted. A line that was cut by the end of its writer is left out. Pure. */
export function spilledLines(text: string): IngestLine[] {
  let accepted = 0;
  const bySeq = new Map<number, IngestLine>();
  for (const line of text.split('\n')) {
    const value = parseJson(line);
    const mark = markSchema.safeParse(value).data;
    if (mark !== undefined) accepted = Math.max(accepted, mark.accepted);
    const event = ingestLineSchema.safeParse(value).data;
    if (event !== undefined) bySeq.set(event.seq, event);
  }
  return [...bySeq.values()]
    .filter((line) => line.seq > accepted)
    .toSorted((one, other) => one.seq - other.seq);
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
