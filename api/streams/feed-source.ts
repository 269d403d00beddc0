import type { FeedEntry } from '../../store/feed.js';
import {
  compareFeedPositions,
  encodeFeedCursor,
  type FeedPosition,
  feedBehind,
  laterFeedPosition,
} from '../../store/feed-position.js';
import { type FeedTail, feedFrame } from './feed-tail.js';
import { frame, type StreamSource, type StreamStep } from './stream-source.js';

const stepBytes = 256 * 1_024;
const nothing: StreamStep = { bytes: new Uint8Array(), ended: false };

/**
 * What one reader of the feed reads: pages of its own while it is behind, then the tail that all readers share (docs/adr/0020). A reader of one tenant is
 * given no event of another, and no cursor that names one.
 */
export class FeedSource implements StreamSource {
  readonly #tail: FeedTail;
  readonly #tenantId: string | undefined;
  /** Where the feed ended when the reader came. */
  readonly #end: FeedPosition;
  readonly #leave: () => void;
  /** Everything up to here was made into frames; may name an event of another tenant. */
  #position: FeedPosition;
  /** The last place that the reader knows: that of its cursor, then of its events. */
  #known: FeedPosition;
  #frames: Buffer[] = [];
  #isCaughtUp = false;
  #gapTold = '';

  constructor(
    tail: FeedTail,
    from: { readonly after: FeedPosition; readonly end: FeedPosition; readonly tenantId: string | undefined },
  ) {
    this.#tail = tail;
    this.#position = from.after;
    this.#known = from.after;
    this.#end = from.end;
    this.#tenantId = from.tenantId;
    this.#leave = tail.join();
  }

  async next(signal: AbortSignal): Promise<StreamStep> {
    while (!signal.aborted) {
      this.#noteCaughtUp();
      if (this.#frames.length > 0) return this.#step();
      const found = this.#isCaughtUp ? this.#tail.after(this.#position, this.#tenantId, stepBytes) : 'behind';
      if (found === 'behind') await this.#page(signal);
      else {
        // What is looked at and what is waited for is of one moment: nothing is awaited in between.
        this.#position = found.upTo;
        this.#frames.push(...found.frames);
        if (found.frames.length === 0) await this.#tail.changed(signal);
      }
    }
    return nothing;
  }

  close(): void {
    this.#leave();
  }

  async #page(signal: AbortSignal): Promise<void> {
    const page = await this.#tail.page(this.#position, this.#tenantId, signal);
    if (page.droppedXid !== null && page.droppedXid !== this.#gapTold) this.#tellGap(page.droppedXid);
    for (const entry of page.entries) this.#take(entry);
    this.#position = page.upTo;
  }

  #take(entry: FeedEntry): void {
    // Between what was there when the reader came and what came later.
    if (compareFeedPositions(entry.position, this.#end) >= 0) this.#tellCaughtUp();
    this.#frames.push(feedFrame(entry).bytes);
    this.#known = entry.position;
  }

  #noteCaughtUp(): void {
    if (compareFeedPositions(this.#position, this.#end) >= 0) this.#tellCaughtUp();
  }

  #tellCaughtUp(): void {
    if (this.#isCaughtUp) return;
    this.#isCaughtUp = true;
    const seq = encodeFeedCursor(laterFeedPosition(this.#known, this.#end));
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
