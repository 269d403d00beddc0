/**
 * Cuts a byte stream into lines, wherever the chunks were cut (inside a UTF-8 character too). A line longer than
 * `maxLineBytes` is dropped as a whole and reported once through `onOversized`, so that memory stays bounded.
 */
export class LineSplitter {
  readonly #onLine: (line: string) => void;
  readonly #onOversized: (bytes: number) => void;
  readonly #maxLineBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  #dropping = false;

  constructor(options: {
    readonly maxLineBytes: number;
    readonly onLine: (line: string) => void;
    readonly onOversized: (bytes: number) => void;
  }) {
    this.#maxLineBytes = options.maxLineBytes;
    this.#onLine = options.onLine;
    this.#onOversized = options.onOversized;
  }

  feed(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      this.#keep(chunk.subarray(start, end));
      this.#finishLine();
      start = end + 1;
    }
    this.#keep(chunk.subarray(start));
  }

  #keep(part: Buffer): void {
    if (part.length === 0) return;
    this.#bytes += part.length;
    if (this.#bytes > this.#maxLineBytes) {
      this.#dropping = true;
      this.#parts = [];
    }
    if (!this.#dropping) this.#parts.push(part);
  }

  #finishLine(): void {
    const line = Buffer.concat(this.#parts).toString('utf8');
    const bytes = this.#bytes;
    const dropped = this.#dropping;
    this.#parts = [];
    this.#bytes = 0;
    this.#dropping = false;
    if (dropped) this.#onOversized(bytes);
    else if (line.trim() !== '') this.#onLine(line);
  }
}
