import { ApiError, backoffMs, type ClientLog, errorLine } from '../../client/index.js';
import { type DeltasAnswer, deltaLimits, type SendDeltas } from '../../contract/deltas.js';
import { storableText } from '../../contract/text.js';
import type { Redactor } from '../../infra/telemetry/redaction.js';
import type { TextPiece } from '../drivers/driver.js';
import { settledText } from './settled-text.js';

/** What the agent writes within this time goes in one request, or sooner once it is so much. */
const coalesceMs = 100;
const coalesceLength = 4_096;
/** How many times as long as it took to look through the text nothing is done then: of what an agent may write some is slow to redact. */
const restFactor = 10;
/** After a refusal, or no answer, nothing is said for a while. */
const restMs = { shortest: 1_000, baseDelayMs: 1_000, maxDelayMs: 30_000 } as const;
const requestTimeoutMs = 2_000;
/** What one request takes, beside its first item. */
const requestLength = 131_072;
/** Items that are written at the same time, or were broken off. */
const maxItems = 8;

interface LiveItem {
  readonly itemId: string;
  /** As the agent wrote it; of a long one the beginning. */
  raw: string;
  /** What the API has, redacted. */
  sent: string;
  /** How much of `raw` was looked at. */
  seen: number;
}

export interface LiveTextOptions {
  readonly send: (body: SendDeltas, timeoutMs: number) => Promise<DeltasAnswer>;
  /** How many events of this attempt were made so far. */
  readonly eventsMade: () => number;
  readonly redactor: Redactor;
  readonly log: ClientLog;
}

/**
 * Text that the agent is writing, on its way to who watches (docs/adr/0021): kept while its item has no event yet, redacted, coalesced, one request at a
 * time. Best effort: what fails is not repeated, since the next request brings what is missing. Nothing is sent while nobody watches.
 */
export class LiveText {
  readonly #options: LiveTextOptions;
  readonly #items = new Map<string, LiveItem>();
  #watched = false;
  #timer: NodeJS.Timeout | undefined;
  /** Counts the changes of `watched`. */
  #round = 0;
  #unsent = 0;
  /** By the clock of `performance`. */
  #restsUntil = 0;
  #sending = false;
  #failures = 0;
  #stopped = false;

  constructor(options: LiveTextOptions) {
    this.#options = options;
  }

  get watched(): boolean {
    return this.#watched;
  }

  /** Whoever begins to watch gets what the open items have so far. */
  set watched(watched: boolean) {
    if (this.#watched === watched) return;
    this.#watched = watched;
    this.#round += 1;
    for (const item of this.#items.values()) {
      item.sent = '';
      item.seen = 0;
    }
    this.#plan();
  }

  add({ itemId, text, restarts }: TextPiece): void {
    if (this.#stopped) return;
    const open = this.#items.get(itemId);
    const item = open === undefined || restarts ? { itemId, raw: '', sent: '', seen: 0 } : open;
    if (item !== open) this.#open(item);
    const added = text.slice(0, deltaLimits.itemLength - item.raw.length);
    item.raw += added;
    this.#unsent += added.length;
    if (added !== '') this.#plan();
  }

  /** The event of the item is made: it has all of the text. */
  ended(itemId: unknown): void {
    if (typeof itemId === 'string') this.#items.delete(itemId);
  }

  /** Nothing is sent any more. */
  stop(): void {
    this.#stopped = true;
    this.#items.clear();
    clearTimeout(this.#timer);
  }

  #open(item: LiveItem): void {
    this.#items.delete(item.itemId);
    this.#items.set(item.itemId, item);
    const [oldest] = this.#items.keys();
    if (this.#items.size > maxItems && oldest !== undefined) this.#items.delete(oldest);
  }

  /** The next request, unless one is under way or has just failed: it plans again itself. */
  #plan(): void {
    if (this.#stopped || !this.#watched || this.#sending || this.#failures > 0) return;
    const leftMs = this.#restsUntil - performance.now();
    if (this.#unsent >= coalesceLength && leftMs <= 0) this.#due();
    else this.#timer ??= setTimeout(() => this.#due(), Math.max(coalesceMs, leftMs)).unref();
  }

  #due(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#stopped && this.#watched && !this.#sending) void this.#flush();
  }

  async #flush(): Promise<void> {
    this.#unsent = 0;
    const startedAt = performance.now();
    const { deltas, taken } = this.#takeNews();
    const endedAt = performance.now();
    this.#restsUntil = endedAt + (endedAt - startedAt) * restFactor;
    if (deltas.length > 0) {
      this.#sending = true;
      const round = this.#round;
      const stored = await this.#send(deltas);
      this.#sending = false;
      // To whom nothing was sent, or who came meanwhile, all of it is new.
      for (const { item, sent } of taken) {
        if (stored && round === this.#round) item.sent = sent;
        else item.seen = 0;
      }
    }
    if (this.#stopped || ![...this.#items.values()].some((item) => item.seen < item.raw.length)) return;
    if (this.#failures === 0) return this.#plan();
    const pauseMs = restMs.shortest + backoffMs(restMs, this.#failures, undefined);
    this.#timer = setTimeout(() => this.#due(), pauseMs).unref();
  }

  /** Whether the API has kept it. */
  async #send(deltas: SendDeltas['deltas']): Promise<boolean> {
    const { send, eventsMade, log } = this.#options;
    try {
      const answer = await send({ after: eventsMade(), deltas }, requestTimeoutMs);
      this.#failures = 0;
      this.watched = answer.watched;
      return answer.accepted === deltas.length;
    } catch (error) {
      this.#failures += 1;
      // An API that has no such route, or takes nothing of this attempt any more: others hear it and act.
      if (error instanceof ApiError && [404, 409].includes(error.status)) this.stop();
      if (this.#failures === 1) log.warn({ ...errorLine(error) }, 'live text was not taken');
      return false;
    }
  }

  /** What one request takes of the news, and what the API has then. */
  #takeNews() {
    const deltas: SendDeltas['deltas'] = [];
    const taken: { readonly item: LiveItem; readonly sent: string }[] = [];
    let length = 0;
    for (const item of this.#items.values()) {
      if (item.seen === item.raw.length) continue;
      if (length > requestLength) break;
      item.seen = item.raw.length;
      // As in the event of the item.
      const itemId = storableText(this.#options.redactor.text(item.itemId));
      const text = settledText(item.raw, this.#options.redactor);
      if (text === item.sent || itemId === '' || itemId.length > deltaLimits.itemIdLength) continue;
      // A secret that became known only now changes what was sent before.
      const offset = text.startsWith(item.sent) ? item.sent.length : 0;
      taken.push({ item, sent: text });
      deltas.push(...piecesOf(text, offset).map((piece) => ({ itemId, ...piece })));
      length += text.length - offset;
    }
    return { deltas, taken };
  }
}

/** What of `text` begins at `from`, in pieces of which each may be sent. */
function piecesOf(text: string, from: number): { offset: number; text: string }[] {
  const pieces: { offset: number; text: string }[] = [];
  let offset = from;
  do {
    const end = offset + deltaLimits.textLength;
    const cutsPair = /[\ud800-\udbff]/.test(text[end - 1] ?? '');
    const piece = text.slice(offset, cutsPair ? end - 1 : end);
    pieces.push({ offset, text: piece });
    offset += piece.length;
  } while (offset < text.length);
  return pieces;
}
