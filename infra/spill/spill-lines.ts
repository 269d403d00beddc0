import { ingestLimits } from '../../contract/ingest.js';

const newline = 0x0a;
/** `bytes`: what may wait on the session's storage, ten minutes of 400 KB per second. A segment is removed when all of it is accepted. */
export const spillLimits = { bytes: 256 * 1024 * 1024, segmentBytes: 8 * 1024 * 1024 } as const;
/** What one attempt leaves at most: above its limits by the marks. The lines are more than that many bytes of the agent's shortest events have. */
const attemptLimits = { bytes: spillLimits.bytes + spillLimits.segmentBytes, lines: 2_000_000 } as const;

/**
 * Cuts what an attempt left into lines, part by part. Others than its supervisor may have written there: a line that is longer than one of ingest is left
 * out and counted, and no more than one line is kept.
 */
export class SpillLines {
  #begun: Buffer[] = [];
  #begunBytes = 0;
  #bytes = 0;
  #lines = 0;
  #tooLong = 0;

  /** How many lines were left out. */
  get tooLong(): number {
    return this.#tooLong;
  }

  /** The lines that end in the next part of a file; blank ones are left out. @throws Error when it is more than an attempt of ours leaves. */
  *add(part: Buffer): Generator<string> {
    this.#bytes += part.length;
    if (this.#bytes > attemptLimits.bytes) throw new Error(`more than ${attemptLimits.bytes} bytes are left`);
    let start = 0;
    for (let end = part.indexOf(newline); end !== -1; end = part.indexOf(newline, start)) {
      const line = this.#line(part.subarray(start, end));
      if (line !== '') yield line;
      start = end + 1;
    }
    this.#begin(part.subarray(start));
  }

  /** The file is over: what has begun is a line too. */
  *end(): Generator<string> {
    const line = this.#line(Buffer.alloc(0));
    if (line !== '') yield line;
  }

  /** The line that ends with these bytes; empty for one that is left out. */
  #line(last: Buffer): string {
    this.#lines += 1;
    if (this.#lines > attemptLimits.lines) throw new Error(`more than ${attemptLimits.lines} lines are left`);
    if (this.#begunBytes + last.length === 0) return '';
    this.#begin(last);
    const [first, ...others] = this.#begun;
    if (first === undefined) this.#tooLong += 1;
    this.#begunBytes = 0;
    this.#begun = [];
    return first === undefined ? '' : Buffer.concat([first, ...others]).toString('utf8');
  }

  #begin(bytes: Buffer): void {
    this.#begunBytes += bytes.length;
    if (this.#begunBytes > ingestLimits.lineBytes) this.#begun = [];
    else if (bytes.length > 0) this.#begun.push(bytes);
  }
}
