import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { runIdSchema } from '../contract/ids.js';
import type { WatchCursor } from './watch-session.js';

const cursorSchema = z.object({ runId: runIdSchema, seq: z.number().int().nonnegative() });

/** Remembers what `watch` has shown of a session, so that one that was killed goes on there. Written after each event. */
export class WatchCursorFile {
  readonly #path: string;

  constructor(dataDir: string, sessionId: string) {
    this.#path = join(dataDir, 'cursors', `${sessionId}.json`);
  }

  read(): WatchCursor | null {
    try {
      return cursorSchema.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return null;
    }
  }

  write(cursor: WatchCursor): void {
    mkdirSync(dirname(this.#path), { recursive: true });
    const unfinished = `${this.#path}.${process.pid}`;
    writeFileSync(unfinished, JSON.stringify(cursor));
    renameSync(unfinished, this.#path);
  }
}

/** Parses `--after RUN:SEQ`. */
export function parseCursor(text: string): WatchCursor | undefined {
  const [runId, seq] = text.split(':');
  return cursorSchema.safeParse({ runId, seq: seq === undefined || seq === '' ? Number.NaN : Number(seq) })
    .data;
}
