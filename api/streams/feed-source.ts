import type { FeedEntry } from '../../store/feed.js';
import {
  compareFeedPositions,
  encodeFeedCursor,
  type FeedPosition,
  feedBefore,
  feedBehind,
  laterFeedPosition,
} from '../../store/feed-position.js';
import { type FeedMember, type FeedTail, feedFrame } from './feed-tail.js';
import { frame, type StreamSource, type StreamStep } from './stream-source.js';

const stepBytes = 256 * 1_024;
/** Looks without an event of the reader, after which it is told where it is: a cut would take it back to where it was told last. */
const looksUntilTold = 20;
const nothing: StreamStep = { bytes: new Uint8Array(), ended: false };

/**
 * An id without data is no frame, but moves the cursor of whoever reads as the HTML standard has it ("dispatch the event", step 1). The comment is for
 * parsers that keep the id to themselves then (client/stream/sse-frames.ts).
 */
const placeBlock = (cursor: string) => `id: ${cursor}\n: at ${cursor}\n\n`;

/**
 * What one reader of the feed reads: pages of its own while it is behind, then the tail that all readers share (docs/adr/0020). A reader of one tenant is
 * given no event of another, and no cursor that names one.
 */
export class FeedSource implements StreamSource {
  readonly #tail: FeedTail;
  readonly #tenantId: string | undefined;
  /** Where the feed ended when the reader came. */
  readonly #end: FeedPosition;
  readonly #member: FeedMember;
  /** Everything up to here was made into frames; may name an event of another tenant. */
  #position: FeedPosition;
  /** The last place that the reader knows: that of its cursor, then of its events, and what else it was told. */
  #known: FeedPosition;
  #frames: Buffer[] = [];
  #isCaughtUp = false;
  #gapTold = '';
  #looks = 0;

  constructor(
    tail: FeedTail,
    from: { readonly after: FeedPosition; readonly end: FeedPosition; readonly tenantId: string | undefined },
  ) {
    this.#tail = tail;
    this.#position = from.after;
    this.#known = from.after;
    this.#end = from.end;
    this.#tenantId = from.tenantId;
    this.#member = tail.join();
  }

  /** @throws AgentRunError `cursor-ahead`: the database went back behind what this reader has. */
  async next(signal: AbortSignal): Promise<StreamStep> {
    while (!signal.aborted) {
      this.#member.checkPlace();
      this.#notePlace();
      if (this.#frames.length > 0) return this.#step();
      const found = this.#isCaughtUp ? this.#tail.after(this.#position, this.#tenantId, stepBytes) : 'behind';
      if (found === 'behind') await this.#page(signal);
      else {
        // What is looked at and what is waited for is of one moment: nothing is awaited in between.
        this.#position = found.upTo;
        this.#frames.push(...found.frames);
        this.#known = found.last ?? this.#known;
        this.#looks = found.frames.length > 0 ? 0 : this.#looks + 1;
        if (found.frames.length === 0) await this.#tail.changed(signal);
      }
    }
    return nothing;
  }

  close(): void {
    this.#member.leave();
  }

  async #page(signal: AbortSignal): Promise<void> {
    const page = await this.#tail.page(this.#position, this.#tenantId, signal);
    if (page.droppedXid !== null && page.droppedXid !== this.#gapTold) this.#tellGap(page.droppedXid);
    for (const entry of page.entries) this.#take(entry);
    // The last events that were there when the reader came may have been deleted since: nothing is left to wait for.
    this.#position = page.isEnd ? laterFeedPosition(page.upTo, this.#end) : page.upTo;
    this.#looks = page.entries.length > 0 ? 0 : this.#looks + 1;
  }

  #take(entry: FeedEntry): void {
    // Between what was there when the reader came and what came later.
    if (compareFeedPositions(entry.position, this.#end) >= 0) this.#tellCaughtUp();
    this.#frames.push(feedFrame(entry).bytes);
    this.#known = entry.position;
  }

  #notePlace(): void {
    if (compareFeedPositions(this.#position, this.#end) >= 0) this.#tellCaughtUp();
    if (this.#looks < looksUntilTold) return;
    this.#looks = 0;
    // Before the transaction that was looked at last: names no event of another tenant.
    const place = feedBefore(this.#position.xid);
    if (compareFeedPositions(place, this.#known) <= 0) return;
    this.#known = place;
    this.#frames.push(Buffer.from(placeBlock(encodeFeedCursor(place))));
  }

  #tellCaughtUp(): void {
    if (this.#isCaughtUp) return;
    this.#isCaughtUp = true;
    this.#known = laterFeedPosition(this.#known, this.#end);
    const seq = encodeFeedCursor(this.#known);
    this.#frames.push(Buffer.from(frame({ name: 'caught-up' }, { seq })));
  }

  /** Of the events between the two places some do not exist any more; those that do follow. */
  #tellGap(droppedXid: string): void {
    this.#gapTold = droppedXid;
    const [from, to] = [this.#known, feedBehind(droppedXid)].map(encodeFeedCursor);
    this.#frames.push(Buffer.from(frame({ name: 'gap' }, { from, to, reason: 'retention' })));
  }

  #step(): StreamStep {
    let size = 0;
    let count = 0;
    for (const bytes of this.#frames) {
      if (size >= stepBytes) break;
      size += bytes.length;
      count += 1;
    }
    return { bytes: Buffer.concat(this.#frames.splice(0, count)), ended: false };
  }
}
