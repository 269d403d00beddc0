import { writeSync } from 'node:fs';
import { escapeStyled, jsonLine } from './terminal-text.js';

/** Where a command writes: results on stdout, remarks on stderr, so that `--json` output can be piped. */
export interface Output {
  readonly json: boolean;
  /** Result lines for a person, in one write; nothing with --json. Of control sequences only our colours reach the terminal. */
  line(...lines: string[]): void;
  /** A remark on stderr; nothing with --json. */
  remark(text: string): void;
  /** Results as one JSON line each, in one write; nothing without --json. */
  data(...values: unknown[]): void;
}

/** Synchronous on purpose: what `watch` counts as printed has left the process. */
export function createOutput(json: boolean): Output {
  return {
    json,
    line: (...lines) => {
      if (!json && lines.length > 0) write(1, escapeStyled(lines.join('\n')));
    },
    remark: (text) => {
      if (!json) write(2, escapeStyled(text));
    },
    data: (...values) => {
      if (json && values.length > 0) write(1, values.map(jsonLine).join('\n'));
    },
  };
}

function write(descriptor: 1 | 2, text: string): void {
  const bytes = Buffer.from(`${text}\n`);
  for (let offset = 0; offset < bytes.length; ) {
    try {
      offset += writeSync(descriptor, bytes, offset);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
    }
  }
}
