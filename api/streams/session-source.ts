import type { SessionCursor } from '../../contract/streams.js';
import type { SessionGeneration } from '../../store/idle-session.js';
import { readAfterTurn } from '../../store/session-turns.js';
import { placeInTurn } from './log-frames.js';
import { type LogReaders, RunReader } from './run-reader.js';
import type { SessionTail, SessionTails } from './session-tails.js';
import { frame, type StreamSource, type StreamStep } from './stream-source.js';

/** What all streams of sessions share in one process. */
export interface SessionReaders extends LogReaders {
  readonly sessions: SessionTails;
}

/** Where a stream of a session begins. */
export interface SessionStart {
  readonly cursor: SessionCursor;
  /** Run of the cursor's turn; null: before the first turn. */
  readonly runId: string | null;
  /** The last event that was stored when the reader came. */
  readonly stored: SessionCursor;
  /** The caller; it reads in turn with others. */
  readonly whose: string;
}

/** The stream of a session: the logs of its turns one after another, and the wait for the next. */
export class SessionSource implements StreamSource {
  readonly #shared: SessionReaders;
  readonly #session: SessionGeneration;
  readonly #stored: SessionCursor;
  readonly #whose: string;
  #cursor: SessionCursor;
  /** Null between two turns. */
  #reader: RunReader | null = null;
  #tail: SessionTail | null = null;
  #isCaughtUp = false;

  constructor(shared: SessionReaders, session: SessionGeneration, start: SessionStart) {
    this.#shared = shared;
    this.#session = session;
    this.#stored = start.stored;
    this.#whose = start.whose;
    this.#cursor = start.cursor;
    if (start.runId !== null) this.#reader = this.#readerOf(start.runId);
  }

  async next(signal: AbortSignal): Promise<StreamStep> {
    while (!signal.aborted) {
      const news = this.#caughtUp();
      if (news !== '') return { bytes: Buffer.from(news), ended: false };
      const step =
        this.#reader === null ? await this.#nextTurn(signal) : await this.#read(this.#reader, signal);
      if (step.bytes.length > 0) return step;
    }
    return nothing;
  }

  async #read(reader: RunReader, signal: AbortSignal): Promise<StreamStep> {
    const bytes = await reader.next(signal);
    this.#cursor = { turn: this.#cursor.turn, seq: reader.cursor };
    if (reader.end?.kind === 'deleted') return this.#ended('deleted');
    if (reader.end !== undefined) {
      reader.close();
      this.#reader = null;
    }
    return { bytes, ended: false };
  }

  /** Begins the next turn, or waits for news when there is none. */
  async #nextTurn(signal: AbortSignal): Promise<StreamStep> {
    const seen = this.#tail?.version;
    const after = await this.#shared.reads.read(
      () => readAfterTurn(this.#shared.pool, this.#session, this.#cursor.turn),
      signal,
      this.#whose,
    );
    if (after === undefined) return this.#ended('deleted');
    if (after.next !== null) {
      const { turn, runId } = after.next;
      this.#cursor = { turn, seq: 0 };
      this.#reader = this.#readerOf(runId);
    } else if (after.isArchived) {
      return this.#ended('archived');
    } else if (seen === undefined) {
      this.#tail ??= this.#shared.sessions.join(this.#session.sessionId);
    } else {
      await this.#tail?.changedSince(seen, signal);
    }
    return nothing;
  }

  /** Of the turn that the cursor is in. */
  #readerOf(runId: string): RunReader {
    const { turn, seq } = this.#cursor;
    return new RunReader(this.#shared, { runId, cursor: seq, whose: this.#whose }, placeInTurn(turn));
  }

  #ended(status: 'archived' | 'deleted'): StreamStep {
    const data = { status, terminalStatus: null, lastSeq: textOf(this.#cursor) };
    return { bytes: Buffer.from(frame({ name: 'stream-end' }, data)), ended: true };
  }

  #caughtUp(): string {
    if (this.#isCaughtUp || isBefore(this.#cursor, this.#stored)) return '';
    this.#isCaughtUp = true;
    return frame({ name: 'caught-up' }, { seq: textOf(this.#cursor) });
  }

  close(): void {
    this.#reader?.close();
    if (this.#tail !== null) this.#shared.sessions.leave(this.#session.sessionId);
    this.#tail = null;
  }
}

const nothing: StreamStep = { bytes: Buffer.alloc(0), ended: false };
const textOf = ({ turn, seq }: SessionCursor) => `${turn}.${seq}`;
const isBefore = (left: SessionCursor, right: SessionCursor) =>
  left.turn === right.turn ? left.seq < right.seq : left.turn < right.turn;
