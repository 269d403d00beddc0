import type { LogRead, LogState } from '../../store/log-reads.js';
import type { LiveTexts } from './delta-tails.js';
import { framesOf, type LogPiece, type Place, pieceOf, placeInRun } from './log-frames.js';
import { News } from './news.js';

/** What the ring of one run holds at most; one piece is always kept. */
const ringLimits = { items: 300, jsonLength: 256 * 1_024 } as const;

interface KeptPiece extends LogPiece {
  readonly jsonLength: number;
  /** Frames of the whole piece, made once: for streams of the run, and for those of its session. */
  readonly frames: { ofRun?: Buffer; ofSession?: Buffer };
}

/** The frames that a reader has next, and the seq that it then has. */
export interface TailFrames {
  readonly bytes: Buffer;
  readonly cursor: number;
}

/** How a run ended for its readers. */
export type RunEnd = { readonly kind: 'closed'; readonly state: LogState } | { readonly kind: 'deleted' };

/** The end of a run's log, shared by all who read the run in this process: the latest pieces as ready-made frames, and news of what comes. */
export class RunTail {
  #pieces: KeptPiece[] = [];
  #head: number;
  #floor: number;
  #end: RunEnd | undefined;
  readonly #news = new News();

  /**
   * @param from the seq after which it begins.
   * @param texts what the agent is writing, for readers at the head.
   */
  constructor(
    from: number,
    readonly texts: LiveTexts,
  ) {
    this.#head = from;
    this.#floor = from;
  }

  /** The last seq that it has read. */
  get head(): number {
    return this.#head;
  }

  /** How the run ended, for a reader that has everything up to {@link head}. */
  get end(): RunEnd | undefined {
    return this.#end;
  }

  /** Whether a reader at `cursor` finds all that it misses here, now or later; else it reads from Postgres until it does. */
  covers(cursor: number): boolean {
    return cursor >= this.#floor;
  }

  /** Takes what was read after {@link head}; undefined: the run does not exist any more. */
  append(read: LogRead | undefined): void {
    if (this.#end !== undefined) return;
    const before = this.#head;
    if (read === undefined) {
      this.#end = { kind: 'deleted' };
    } else {
      if (read.upTo > this.#head) this.#keep(pieceOf(this.#head, read));
      if (read.isClosed && this.#head >= read.lastSeq) this.#end = { kind: 'closed', state: read };
    }
    if (this.#head === before && this.#end === undefined) return;
    this.wakeReaders();
  }

  wakeReaders(): void {
    this.#news.tell();
  }

  #keep(piece: LogPiece): void {
    const jsonLength = piece.items.reduce(
      (sum, item) => sum + (item.kind === 'event' ? item.json.length : 0),
      0,
    );
    this.#pieces.push({ ...piece, jsonLength, frames: {} });
    this.#head = piece.to;
    let items = this.#pieces.reduce((sum, kept) => sum + kept.items.length, 0);
    let length = this.#pieces.reduce((sum, kept) => sum + kept.jsonLength, 0);
    while (this.#pieces.length > 1 && (items > ringLimits.items || length > ringLimits.jsonLength)) {
      const dropped = this.#pieces.shift();
      if (dropped === undefined) break;
      items -= dropped.items.length;
      length -= dropped.jsonLength;
      this.#floor = dropped.to;
    }
  }

  /** The next frames after `cursor`, which {@link covers}; undefined while there are none. */
  after(cursor: number, place: Place): TailFrames | undefined {
    const piece = this.#pieces.find((kept) => kept.to > cursor);
    if (piece === undefined) return undefined;
    if (piece.from !== cursor)
      return { bytes: Buffer.from(framesOf(piece, cursor, place)), cursor: piece.to };
    const kind = place === placeInRun ? 'ofRun' : 'ofSession';
    const bytes = piece.frames[kind] ?? Buffer.from(framesOf(piece, cursor, place));
    piece.frames[kind] = bytes;
    return { bytes, cursor: piece.to };
  }

  /** Resolves at the next news, or when `signal` is aborted. */
  async changed(signal: AbortSignal): Promise<void> {
    await this.#news.next(signal);
  }
}
