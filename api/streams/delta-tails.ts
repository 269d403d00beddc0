import type { Logger } from '../../infra/telemetry/logger.js';
import { readDeltas, type StoredDelta } from '../../store/deltas.js';
import type { Listener } from '../../store/listener.js';
import type { LogEvent } from '../../store/log-reads.js';
import type { Pool } from '../../store/pool.js';
import { BatchedLooks } from './batched-looks.js';
import type { Presence } from './presence.js';
import { frame } from './stream-source.js';

/** Items of one run that are live at once; more come only of messages that were broken off. */
const maxItems = 8;
/** What one look reads: of all runs, and of one. */
const lookBytes = { ofAll: 2 * 1_048_576, ofOne: 262_144 } as const;
/** Text that has not grown for so long will not. */
const forgottenMs = 60_000;
/** `attempt_started` as it stands at the beginning of an event's JSON. */
const attemptStarted = /^.{0,400}?"type":"attempt_started"/;

/** The text of an item that is being written, from `start` on. One whose text was taken back is another one. */
interface LiveItem {
  readonly start: number;
  text: string;
  grownAt: number;
  /** The last event of the log when it grew. */
  logSeq: number;
}

/** What one reader has of each live item. */
export type SeenText = Map<string, { readonly item: LiveItem; readonly length: number }>;

/**
 * The texts that the agent of one run is writing, shared by all who read the run in this process. An item goes when an event that names it is read,
 * so whoever has all events that were read is never sent text of an item whose event it has.
 */
export class LiveTexts {
  readonly #items = new Map<string, LiveItem>();
  #deltaId = 0;
  /** Events that were read while Postgres was asked for pieces of text. */
  #meanwhile: LogEvent[] | undefined;

  /** The last piece that is known. */
  get deltaId(): number {
    return this.#deltaId;
  }

  /** Events of the run were read. */
  passed(events: readonly LogEvent[]): void {
    this.#meanwhile?.push(...events);
    for (const event of events) {
      for (const [itemId, { logSeq }] of this.#items) {
        if (endsText(event, { itemId, logSeq })) this.#items.delete(itemId);
      }
    }
  }

  /** From here on what {@link passed} is kept, until {@link take}: an answer of Postgres may be older than it. */
  asking(): void {
    this.#meanwhile = [];
  }

  /** Takes pieces as Postgres has them. Answers whether a text has changed. */
  take(pieces: readonly StoredDelta[]): boolean {
    const meanwhile = this.#meanwhile ?? [];
    this.#meanwhile = undefined;
    let changed = false;
    for (const piece of pieces) {
      // In order, and lower than before when Postgres counts anew.
      this.#deltaId = piece.deltaId;
      if (piece.over || meanwhile.some((event) => endsText(event, piece))) continue;
      this.#grow(piece);
      changed = true;
    }
    return changed;
  }

  /** The frames of what a reader has not seen; empty when there is nothing. */
  after(seen: SeenText): string {
    let frames = '';
    for (const itemId of seen.keys()) if (!this.#items.has(itemId)) seen.delete(itemId);
    for (const [itemId, item] of this.#items) {
      const before = seen.get(itemId);
      const length = before?.item === item ? before.length : 0;
      if (length === item.text.length) continue;
      frames += frame(
        { name: 'delta' },
        { itemId, offset: item.start + length, text: item.text.slice(length) },
      );
      seen.set(itemId, { item, length: item.text.length });
    }
    return frames;
  }

  #grow({ itemId, offset, text, logSeq }: StoredDelta): void {
    const grownAt = performance.now();
    const item = this.#items.get(itemId);
    const at = item === undefined ? -1 : offset - item.start;
    if (item !== undefined && at === item.text.length) {
      Object.assign(item, { text: item.text + text, grownAt, logSeq });
      return;
    }
    // Taken back, repeated, or something is missing in between.
    const kept = item !== undefined && at >= 0 && at < item.text.length ? item.text.slice(0, at) : '';
    this.#items.set(itemId, { start: offset - kept.length, text: kept + text, grownAt, logSeq });
    for (const [id, other] of this.#items) if (other.grownAt < grownAt - forgottenMs) this.#items.delete(id);
    const [oldest] = this.#items.keys();
    if (this.#items.size > maxItems && oldest !== undefined) this.#items.delete(oldest);
  }
}

/** Whether an event is the end of a text: it names the item, or begins another attempt than the one that wrote it. */
function endsText(
  { seq, json }: LogEvent,
  text: { readonly itemId: string; readonly logSeq: number },
): boolean {
  return json.includes(JSON.stringify(text.itemId)) || (seq > text.logSeq && attemptStarted.test(json));
}

/** The live texts of all runs that streams of this process read, filled by one loop. */
export class DeltaTails {
  readonly #followed = new Map<string, { readonly texts: LiveTexts; readonly onNews: () => void }>();
  readonly #looks: BatchedLooks;
  readonly #pool: Pool;
  readonly #presence: Presence;

  constructor(parts: { pool: Pool; listener: Listener; logger: Logger; presence: Presence }) {
    this.#pool = parts.pool;
    this.#presence = parts.presence;
    this.#looks = new BatchedLooks({
      listener: parts.listener,
      channel: 'agentrun_delta',
      logger: parts.logger,
      look: (runIds, share) => this.#look(runIds, share),
    });
  }

  /** Says that the run is watched, and follows its texts until `close`; `onNews` is called when there is more of one. Once per run. */
  follow(runId: string, onNews: () => void): { readonly texts: LiveTexts; close(): void } {
    const texts = new LiveTexts();
    this.#followed.set(runId, { texts, onNews });
    const left = this.#presence.watch(runId);
    this.#looks.follow(runId);
    return {
      texts,
      close: () => {
        if (this.#followed.get(runId)?.texts !== texts) return;
        this.#followed.delete(runId);
        this.#looks.unfollow(runId);
        left();
      },
    };
  }

  async #look(runIds: readonly string[], share: number): Promise<readonly string[]> {
    const asked = runIds.flatMap((runId) => {
      const followed = this.#followed.get(runId);
      return followed === undefined ? [] : [{ runId, ...followed }];
    });
    if (asked.length === 0) return [];
    for (const { texts } of asked) texts.asking();
    const bytesOfEach = share * Math.min(lookBytes.ofOne, lookBytes.ofAll / asked.length);
    const { pieces, unfinished } = await readDeltas(
      this.#pool,
      asked.map(({ runId, texts }) => ({ runId, after: texts.deltaId })),
      Math.ceil(bytesOfEach),
    );
    const byRun = new Map(asked.map(({ runId }): [string, StoredDelta[]] => [runId, []]));
    for (const piece of pieces) byRun.get(piece.runId)?.push(piece);
    for (const { runId, texts, onNews } of asked) if (texts.take(byRun.get(runId) ?? [])) onNews();
    return unfinished;
  }
}
