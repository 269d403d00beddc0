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
      this.#file = createFile(path);
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
      this.#file = createFile(fresh);
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

/** A new file in the place of whatever stands there: nothing is written through a link. */
function createFile(path: string): number {
  rmSync(path, { force: true });
  return openSync(path, 'wx', 0o600);
}

/**
 * The lines of a spill that were not marked as accepted, in their order. `lines` is gone through twice, for the marks stand behind what they mark; at no
 * time is more than a line in memory. One that was cut by the end of its writer is left out.
 */
export async function* spilledLines(lines: () => AsyncIterable<string>): AsyncGenerator<IngestLine> {
  let last = 0;
  for await (const line of lines()) {
    const mark = line.startsWith('{"accepted"') ? markSchema.safeParse(parseJson(line)).data : undefined;
    if (mark !== undefined) last = Math.max(last, mark.accepted);
  }
  for await (const line of lines()) {
    const event = ingestLineSchema.safeParse(parseJson(line)).data;
    if (event === undefined || event.seq <= last) continue;
    last = event.seq;
    yield event;
  }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
