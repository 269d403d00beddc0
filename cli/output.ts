import { writeSync } from 'node:fs';
import { LiveBlock } from './live-block.js';
import { escapeStyled, jsonLine } from './terminal-text.js';

/** Where a command writes: results on stdout, remarks on stderr, so that `--json` output can be piped. */
export interface Output {
  readonly json: boolean;
  /** Columns of the terminal that stdout is; null where nothing can be rewritten in place, which is also so with --json. */
  readonly columns: () => number | null;
  /** Result lines for a person, in one write; nothing with --json. Of control sequences only our colours reach the terminal. */
  line(...lines: string[]): void;
  /** The lines below all others, rewritten in place; none take them away. Only on a terminal. */
  live(lines: readonly string[]): void;
  /** Leaves the live lines on the terminal as they are. */
  settle(): void;
  /** A remark on stderr; nothing with --json. */
  remark(text: string): void;
  /** Results as one JSON line each, in one write; nothing without --json. */
  data(...values: unknown[]): void;
}

/** Whoever read the output has gone away: there is nobody to write to, and nothing is wrong. */
export class ReaderGone extends Error {
  override readonly name = 'ReaderGone';
}

/** What an output needs to know of stdout. */
export type OutputTerminal = Pick<NodeJS.WriteStream, 'isTTY' | 'columns'>;

const fullPipe = new Int32Array(new SharedArrayBuffer(4));
const fullPipeMs = 5;
/** Narrower ones get no live text. */
const narrowest = 20;

/**
 * Synchronous on purpose: what `watch` counts as printed has left the process.
 *
 * @throws ReaderGone by what writes.
 */
export function createOutput(json: boolean, terminal: OutputTerminal = process.stdout): Output {
  const block = new LiveBlock();
  const columns = (): number | null =>
    !json && terminal.isTTY && terminal.columns >= narrowest ? terminal.columns : null;
  return {
    json,
    columns,
    line: (...lines) => {
      if (json || lines.length === 0) return;
      write(1, `${block.erased()}${escapeStyled(lines.join('\n'))}\n${block.drawn()}`);
    },
    live: (lines) => {
      const shown = columns() === null ? [] : lines.map(escapeStyled);
      const written = block.replaced(shown);
      if (written !== '') write(1, written);
    },
    settle: () => block.settle(),
    remark: (text) => {
      if (json) return;
      if (!block.isEmpty) write(1, block.erased());
      write(2, `${escapeStyled(text)}\n`);
      if (!block.isEmpty) write(1, block.drawn());
    },
    data: (...values) => {
      if (json && values.length > 0) write(1, `${values.map(jsonLine).join('\n')}\n`);
    },
  };
}

function write(descriptor: 1 | 2, text: string): void {
  const bytes = Buffer.from(text);
  for (let offset = 0; offset < bytes.length; ) {
    try {
      offset += writeSync(descriptor, bytes, offset);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : undefined;
      if (code === 'EPIPE') throw new ReaderGone('nobody reads the output', { cause: error });
      if (code !== 'EAGAIN') throw error;
      // A pipe that is full: whoever reads it is slower.
      Atomics.wait(fullPipe, 0, 0, fullPipeMs);
    }
  }
}
