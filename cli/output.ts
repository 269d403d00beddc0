import { writeSync } from 'node:fs';

/** Where a command writes: results on stdout, remarks on stderr, so that `--json` output can be piped. */
export interface Output {
  readonly json: boolean;
  /** A result line for a person; nothing with --json. */
  line(text: string): void;
  /** A remark on stderr; nothing with --json. */
  remark(text: string): void;
  /** A result as one JSON line; nothing without --json. */
  data(value: unknown): void;
}

/** Synchronous on purpose: what `watch` counts as printed has left the process. */
export function createOutput(json: boolean): Output {
  return {
    json,
    line: (text) => {
      if (!json) write(1, text);
    },
    remark: (text) => {
      if (!json) write(2, text);
    },
    data: (value) => {
      if (json) write(1, JSON.stringify(value));
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
