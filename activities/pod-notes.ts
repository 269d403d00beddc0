import type { ProcessFate } from '../domain/supervision.js';
import { notePod, type PodNote } from '../store/pod-notes.js';
import type { Queryable } from '../store/pool.js';
import type { AttemptKey } from '../store/supervision-facts.js';

/**
 * Keeps the records on how an attempt's pod stands: written when that changes, and while it waits often enough that its time to claim does not run out.
 * A local process has nothing to note.
 */
export class PodNotes {
  readonly #db: Queryable;
  readonly #attempt: AttemptKey;
  #noted = '';
  #notedAtMs = 0;

  constructor(db: Queryable, attempt: AttemptKey) {
    this.#db = db;
    this.#attempt = attempt;
  }

  async note(fate: ProcessFate, claimTimeoutMs: number): Promise<void> {
    const note = noteOf(fate);
    if (note === undefined) return;
    const text = JSON.stringify(note);
    const isOld = note.wait !== null && performance.now() - this.#notedAtMs >= claimTimeoutMs / 2;
    if (text === this.#noted && !isOld) return;
    await notePod(this.#db, this.#attempt, note);
    this.#noted = text;
    this.#notedAtMs = performance.now();
  }
}

/** Undefined: there is nothing to note. */
function noteOf(fate: ProcessFate): PodNote | undefined {
  if (fate.state === 'waiting')
    return {
      wait: fate.for,
      message: fate.message,
      sinceMs: fate.sinceMs,
      nodeName: fate.node ?? null,
    };
  if (fate.state !== 'alive' || fate.startedAtMs === undefined) return undefined;
  return {
    wait: null,
    message: fate.lostNode === undefined ? null : `node ${fate.lostNode} does not answer`,
    sinceMs: fate.startedAtMs,
    nodeName: fate.node ?? null,
  };
}
