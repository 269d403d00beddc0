const sequence = (code: string) => `${String.fromCodePoint(0x1b)}[${code}`;
/** Without it a line that is wider than the terminal takes one row, and no row is ever miscounted. */
const wrapping = { off: sequence('?7l'), on: sequence('?7h') };

/**
 * Lines at the end of a terminal that are rewritten in place. Answers what is to be written, and writes nothing itself. Its lines are escaped, and each is
 * one row.
 */
export class LiveBlock {
  #lines: readonly string[] = [];

  get isEmpty(): boolean {
    return this.#lines.length === 0;
  }

  /** Other lines in place of the present ones; none take the block away. Empty when they are the same. */
  replaced(lines: readonly string[]): string {
    if (lines.join('\n') === this.#lines.join('\n')) return '';
    const erased = this.erased();
    this.#lines = lines;
    return erased + this.drawn();
  }

  /** Takes the block off the screen, for what is written above it; `drawn` brings it back. */
  erased(): string {
    return this.isEmpty ? '' : `\r${sequence(`${this.#lines.length}A`)}${sequence('0J')}`;
  }

  /** What is shown stays where it is, and is rewritten no more. */
  settle(): void {
    this.#lines = [];
  }

  drawn(): string {
    if (this.isEmpty) return '';
    return `${wrapping.off}${this.#lines.map((line) => `${line}\n`).join('')}${wrapping.on}`;
  }
}
