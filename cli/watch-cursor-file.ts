import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { runIdSchema } from '../contract/ids.js';
import type { WatchCursor } from './watch-session.js';

const cursorSchema = z.object({ runId: runIdSchema, seq: z.number().int().nonnegative() });

/**
 * Remembers what `watch` has shown of a session, so that one that was killed goes on there. Noted right before a page is
 * shown: who kills the watcher because of what it shows sees nothing twice. A kill in the microseconds between the two hides that page, which
 * `--from-start` shows.
 */
export class WatchCursorFile {
  readonly #path: string;
  readonly #unfinished: string;

  constructor(dataDir: string, sessionId: string) {
    this.#path = join(dataDir, 'cursors', `${sessionId}.json`);
    this.#unfinished = `${this.#path}.${process.pid}`;
  }

  read(): WatchCursor | null {
    try {
      return cursorSchema.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return null;
    }
  }

  write(cursor: WatchCursor): void {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    writeFileSync(this.#unfinished, JSON.stringify(cursor), { mode: 0o600 });
    renameSync(this.#unfinished, this.#path);
  }
}

/** Parses `--after RUN:SEQ`. */
export function parseCursor(text: string): WatchCursor | undefined {
  const [runId, seq] = text.split(':');
  return cursorSchema.safeParse({ runId, seq: seq === undefined || seq === '' ? Number.NaN : Number(seq) })
    .data;
}
