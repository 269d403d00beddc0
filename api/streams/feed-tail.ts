import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../infra/telemetry/logger.js';
import { type FeedEntry, type FeedPage, type FeedReader, readFeed, readFeedEdges } from '../../store/feed.js';
import {
  compareFeedPositions,
  encodeFeedCursor,
  type FeedPosition,
  feedStart,
  laterFeedPosition,
} from '../../store/feed-position.js';
import type { Listener } from '../../store/listener.js';
import type { Pool } from '../../store/pool.js';
import { retryWaitMs } from '../../store/retry-wait.js';
import { BoundedReads } from './bounded-reads.js';
import { cursorAhead } from './cursors.js';
import { News } from './news.js';
import { ReadSize } from './read-size.js';

/** After a wake-up, so that one look is for many; most of the transactions that were open at the wake-up have ended then. */
const collectMs = 50;
/** Without a wake-up; also how long the last event waits that an open transaction held back. */
const pollMs = 1_000;
const longestRetryMs = 5_000;
/** Also bounds what each reader that is behind holds until it is sent. */
const limits = { events: 1_000, bytes: 256 * 1_024 } as const;
const ringBytes = 8 * 1_024 * 1_024;
const ringEntries = 10_000;
/** What is older is read from Postgres, where nothing of a session is left that was deleted meanwhile. */
const ringAgeMs = 60_000;
const pagesAtOnce = 2;

/** An event as it goes over the wire, made once for all readers. */
export interface FeedFrame {
  readonly position: FeedPosition;
  readonly tenantId: string;
  readonly bytes: Buffer;
}

interface KeptFrame extends FeedFrame {
  readonly keptAt: number;
}

/** Frames of one reader. */
export interface HeldFrames {
  readonly frames: readonly Buffer[];
  /** Of the last of them. */
  readonly last: FeedPosition | undefined;
  /** Everything up to here is among them, or another tenant's. */
  readonly upTo: FeedPosition;
}

/** A reader, for as long as it reads. */
export interface FeedMember {
  /** Goes; called once. */
  leave(): void;
  /** @throws AgentRunError `cursor-ahead`: the database does not know any more what was read of it, and whoever reads on may miss what it writes now. */
  checkPlace(): void;
}

/** The frames of entries; the id of each is its cursor. */
export const feedFrame = ({ position, tenantId, json }: FeedEntry): FeedFrame => ({
  position,
  tenantId,
  bytes: Buffer.from(`id: ${encodeFeedCursor(position)}\ndata: ${json}\n\n`),
});

export interface FeedTailOptions {
  readonly pool: Pool;
  readonly listener: Pick<Listener, 'subscribeAll'>;
  readonly logger: Logger;
}

/**
 * The end of the feed, read once for all its readers in this process while there are any: woken by whatever happens to a run, and once a second. Who is
 * behind what it holds reads pages.
 */
export class FeedTail {
  readonly #options: FeedTailOptions;
  readonly #pages: BoundedReads;
  readonly #news = new News();
  readonly #size = new ReadSize();
  readonly #members = new Set<{ isAhead: boolean }>();
  #stopping: AbortController | undefined;
  #ring: KeptFrame[] = [];
  #bytes = 0;
  /** Everything behind the floor up to the head is in the ring; undefined before the first look. */
  #floor: FeedPosition | undefined;
  #head: FeedPosition | undefined;
  /** The furthest place of any reader. */
  #furthest = feedStart;

  constructor(options: FeedTailOptions) {
    this.#options = options;
    this.#pages = new BoundedReads(options.logger, pagesAtOnce);
  }

  /** A reader has come. */
  join(): FeedMember {
    const member = { isAhead: false };
    this.#members.add(member);
    if (this.#stopping === undefined) {
      this.#stopping = new AbortController();
      void this.#run(this.#stopping.signal);
    }
    return {
      leave: () => {
        this.#members.delete(member);
        if (this.#members.size > 0) return;
        this.#stopping?.abort();
        this.#stopping = undefined;
        this.#forget();
      },
      checkPlace: () => {
        if (member.isAhead) throw cursorAhead();
      },
    };
  }

  #forget(): void {
    [this.#ring, this.#bytes, this.#floor, this.#head] = [[], 0, undefined, undefined];
    this.#furthest = feedStart;
  }

  /**
   * What is held behind `after`, at most about `maxBytes`, and the place up to which that is all. `behind`: what comes next is not held any more, or was
   * there before the tail began.
   */
  after(after: FeedPosition, tenantId: string | undefined, maxBytes: number): HeldFrames | 'behind' {
    this.#furthest = laterFeedPosition(this.#furthest, after);
    if (this.#head === undefined || this.#floor === undefined)
      return { frames: [], last: undefined, upTo: after };
    if (compareFeedPositions(after, this.#floor) < 0) return 'behind';
    const frames: Buffer[] = [];
    let last: FeedPosition | undefined;
    let upTo = after;
    let size = 0;
    for (let index = this.#firstBehind(after); index < this.#ring.length; index += 1) {
      const entry = this.#ring[index];
      if (entry === undefined) break;
      if (size >= maxBytes) return { frames, last, upTo };
      upTo = entry.position;
      if (tenantId !== undefined && entry.tenantId !== tenantId) continue;
      frames.push(entry.bytes);
      last = entry.position;
      size += entry.bytes.length;
    }
    return { frames, last, upTo: laterFeedPosition(upTo, this.#head) };
  }

  /** Index of the first frame behind a place. */
  #firstBehind(after: FeedPosition): number {
    let [low, high] = [0, this.#ring.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const entry = this.#ring[middle];
      if (entry !== undefined && compareFeedPositions(entry.position, after) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /**
   * A page for a reader that is behind.
   *
   * @throws Error when Postgres did not answer for about two minutes.
   */
  async page(after: FeedPosition, tenantId: string | undefined, signal: AbortSignal): Promise<FeedPage> {
    const floor = this.#floor;
    const page = await this.#pages.read(() => this.#read({ after, tenantId }), signal);
    // What the tail had passed before the page was read is in the page, as far as it was not deleted.
    return page.isEnd && floor !== undefined ? { ...page, upTo: laterFeedPosition(page.upTo, floor) } : page;
  }

  #read(from: FeedReader): Promise<FeedPage> {
    const asked = { events: this.#size.of(limits.events), bytes: this.#size.of(limits.bytes) };
    return this.#size.measured(() => readFeed(this.#options.pool, from, asked));
  }

  /** Resolves at the next news, or when `signal` is aborted. */
  changed(signal: AbortSignal): Promise<void> {
    return this.#news.next(signal);
  }

  /** Follows the feed until `signal` is aborted. */
  async #run(signal: AbortSignal): Promise<void> {
    const pause = (timeMs: number) => sleep(timeMs, undefined, { signal }).catch(() => undefined);
    let wake: () => void = () => undefined;
    signal.addEventListener('abort', () => wake(), { once: true });
    let isWoken = true;
    const unsubscribe = this.#options.listener.subscribeAll('agentrun_run', () => {
      isWoken = true;
      wake();
    });
    for (let failures = 0; !signal.aborted; ) {
      isWoken = false;
      try {
        await this.#look(signal);
        failures = 0;
      } catch (cause) {
        failures += 1;
        const waitMs = retryWaitMs(failures, longestRetryMs);
        this.#options.logger.warn(
          { attempt: failures, waitMs: Math.round(waitMs), cause },
          'the feed cannot be read on; its readers wait',
        );
        await pause(waitMs);
        continue;
      }
      // Not by a signal that is made of two: those are never forgotten by the one that lives on.
      if (!isWoken && !signal.aborted) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, pollMs);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      if (isWoken) await pause(collectMs);
    }
    unsubscribe();
  }

  /** Reads on to the end. */
  async #look(signal: AbortSignal): Promise<void> {
    if (this.#head === undefined) {
      const given = this.#furthest;
      const { end, horizon } = await readFeedEdges(this.#options.pool);
      if (!signal.aborted && this.#isKnown(given, horizon)) this.#grow([], end);
    }
    for (let isEnd = false; !isEnd && !signal.aborted && this.#head !== undefined; ) {
      const given = laterFeedPosition(this.#furthest, this.#head);
      const page = await this.#read({ after: this.#head });
      // Whoever stopped this look may have begun another one.
      if (signal.aborted || !this.#isKnown(given, page.horizon)) return;
      this.#grow(page.entries.map(feedFrame), page.upTo);
      isEnd = page.isEnd;
    }
  }

  /**
   * Whether the database can have given out what was read before it was asked. One that took over without the last transactions of another gives their
   * numbers again, to other events. Then all readers are ended, and the tail begins anew.
   */
  #isKnown(given: FeedPosition, horizon: FeedPosition): boolean {
    if (compareFeedPositions(given, horizon) <= 0) return true;
    this.#options.logger.error(
      { given: given.xid, horizon: horizon.xid, readers: this.#members.size },
      'the database is behind what was read of it, as after a failover; the readers of the feed are ended',
    );
    for (const member of this.#members) member.isAhead = true;
    this.#forget();
    this.#news.tell();
    return false;
  }

  #grow(frames: readonly FeedFrame[], head: FeedPosition): void {
    const now = performance.now();
    this.#ring.push(...frames.map((frame) => ({ ...frame, keptAt: now })));
    this.#bytes += frames.reduce((sum, { bytes }) => sum + bytes.length, 0);
    this.#head = head;
    this.#floor ??= head;
    let dropped = 0;
    for (;;) {
      const entry = this.#ring[dropped];
      if (entry === undefined) break;
      const isTooMuch = this.#bytes > ringBytes || this.#ring.length - dropped > ringEntries;
      if (!isTooMuch && entry.keptAt >= now - ringAgeMs) break;
      this.#bytes -= entry.bytes.length;
      this.#floor = entry.position;
      dropped += 1;
    }
    this.#ring.splice(0, dropped);
    this.#news.tell();
  }
}
