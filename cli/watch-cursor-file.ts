import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type RunPlace, runPlaceSchema } from './watch-cursor.js';

/**
 * Remembers what `watch` has shown of a session, so that one that was killed goes on there. Noted right before an event is
 * shown: who kills the watcher because of what it shows sees nothing twice. A kill in the microseconds between the two hides that event, which
 * `--from-start` shows.
 */
export class WatchCursorFile {
  readonly #path: string;
  readonly #unfinished: string;

  constructor(dataDir: string, sessionId: string) {
    this.#path = join(dataDir, 'cursors', `${sessionId}.json`);
    this.#unfinished = `${this.#path}.${process.pid}`;
  }

  read(): RunPlace | null {
    try {
      return runPlaceSchema.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return null;
    }
  }

  write({ runId, seq }: RunPlace): void {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    writeFileSync(this.#unfinished, JSON.stringify({ runId, seq }), { mode: 0o600 });
    renameSync(this.#unfinished, this.#path);
  }
}
