import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import {
  isSameProcessAlive,
  processIdentitySchema,
  readProcessIdentity,
} from '../infra/processes/process-identity.js';
import { type RunPlace, runPlaceSchema } from './watch-cursor.js';

const notedSchema = runPlaceSchema.extend({ watch: processIdentitySchema.optional() });

/**
 * Remembers what `watch` has shown of a session, so that one that was interrupted goes on there. Noted right before an event is shown: who kills the
 * watcher because of what it shows sees nothing twice. A kill in the microseconds between the two hides that event, which `--from-start` shows. It
 * belongs to one watch at a time: beside one that runs, another neither goes on at its place nor notes its own.
 */
export class WatchCursorFile {
  readonly #path: string;
  readonly #unfinished: string;
  readonly #self = readProcessIdentity(process.pid);

  private constructor(path: string) {
    this.#path = path;
    this.#unfinished = `${path}.${process.pid}`;
  }

  /** null while another watch of the session notes its place. */
  static open(dataDir: string, sessionId: string): WatchCursorFile | null {
    const file = new WatchCursorFile(join(dataDir, 'cursors', `${sessionId}.json`));
    const watch = file.#noted()?.watch;
    const isOther = watch !== undefined && watch.pid !== process.pid;
    return isOther && isSameProcessAlive(watch) ? null : file;
  }

  /** Where the last watch was interrupted; null when none was. */
  read(): RunPlace | null {
    const noted = this.#noted();
    return noted === undefined ? null : { runId: noted.runId, seq: noted.seq };
  }

  write({ runId, seq }: RunPlace): void {
    mkdirSync(dirname(this.#path), { recursive: true, mode: 0o700 });
    writeFileSync(this.#unfinished, JSON.stringify({ runId, seq, watch: this.#self }), { mode: 0o600 });
    renameSync(this.#unfinished, this.#path);
  }

  /** The watch has shown all there was: the next one begins anew. */
  remove(): void {
    rmSync(this.#path, { force: true });
  }

  #noted() {
    try {
      return notedSchema.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return undefined;
    }
  }
}
