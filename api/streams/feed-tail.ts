import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../../infra/telemetry/logger.js';
import { type FeedEntry, type FeedPage, readFeed, readFeedEdges } from '../../store/feed.js';
import {
  compareFeedPositions,
  encodeFeedCursor,
  type FeedPosition,
  laterFeedPosition,
} from '../../store/feed-position.js';
import type { Listener } from '../../store/listener.js';
import type { Pool } from '../../store/pool.js';
import { BoundedReads } from './bounded-reads.js';

/** After a wake-up, so that one look is for many; most of the transactions that were open at the wake-up have ended then. */
const collectMs = 50;
/** Without a wake-up; also how long the last event waits that an open transaction held back. */
const pollMs = 1_000;
const firstRetryMs = 100;
const longestRetryMs = 5_000;
const limits = { events: 1_000, bytes: 512 * 1_024 } as const;
const ringBytes = 8 * 1_024 * 1_024;
const ringEntries = 10_000;
const pagesAtOnce = 2;

/** An event as it goes over the wire, made once for all readers. */
export interface FeedFrame {
  readonly position: FeedPosition;
  readonly tenantId: string;
  readonly bytes: Buffer;
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
  readonly #waiting = new Set<() => void>();
  #readers = 0;
  #stopping: AbortController | undefined;
  #ring: FeedFrame[] = [];
  #bytes = 0;
  /** Everything behind the floor up to the head is in the ring; undefined before the first look. */
  #floor: FeedPosition | undefined;
  #head: FeedPosition | undefined;

  constructor(options: FeedTailOptions) {
    this.#options = options;
    this.#pages = new BoundedReads(options.logger, pagesAtOnce);
  }

  /** A reader has come; the returned function, called once, says that it has gone. */
  join(): () => void {
    this.#readers += 1;
    if (this.#stopping === undefined) {
      this.#stopping = new AbortController();
      void this.#run(this.#stopping.signal);
    }
    return () => {
      this.#readers -= 1;
      if (this.#readers > 0) return;
      this.#stopping?.abort();
      this.#stopping = undefined;
      [this.#ring, this.#bytes, this.#floor, this.#head] = [[], 0, undefined, undefined];
    };
  }

  /**
   * What is held behind `after`, at most about `maxBytes`, and the place up to which that is all. `behind`: what comes next is not held any more, or was
   * there before the tail began.
   */
  after(
    after: FeedPosition,
    tenantId: string | undefined,
    maxBytes: number,
  ): { readonly frames: readonly Buffer[]; readonly upTo: FeedPosition } | 'behind' {
    if (this.#head === undefined || this.#floor === undefined) return { frames: [], upTo: after };
    if (compareFeedPositions(after, this.#floor) < 0) return 'behind';
    const frames: Buffer[] = [];
    let upTo = after;
    let size = 0;
    for (let index = this.#firstBehind(after); index < this.#ring.length; index += 1) {
      const entry = this.#ring[index];
      if (entry === undefined) break;
      if (size >= maxBytes) return { frames, upTo };
      upTo = entry.position;
      if (tenantId !== undefined && entry.tenantId !== tenantId) continue;
      frames.push(entry.bytes);
      size += entry.bytes.length;
    }
    return { frames, upTo: laterFeedPosition(upTo, this.#head) };
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
   * @throws Error when Postgres did not answer for about a quarter of a minute.
   */
  async page(after: FeedPosition, tenantId: string | undefined, signal: AbortSignal): Promise<FeedPage> {
    const floor = this.#floor;
    const page = await this.#pages.read(
      () => readFeed(this.#options.pool, { after, tenantId }, limits),
      signal,
    );
    // What the tail had passed before the page was read is in the page, as far as it was not deleted.
    return page.isEnd && floor !== undefined ? { ...page, upTo: laterFeedPosition(page.upTo, floor) } : page;
  }

  /** Resolves at the next news, or when `signal` is aborted. */
  async changed(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiting.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  /** Follows the feed until `signal` is aborted. */
  async #run(signal: AbortSignal): Promise<void> {
    const pause = (timeMs: number) => sleep(timeMs, undefined, { signal }).catch(() => undefined);
    let wake: () => void = () => undefined;
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
        const waitMs =
          Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(failures, 10)) * (0.5 + Math.random() / 2);
        this.#options.logger.warn(
          { attempt: failures, waitMs: Math.round(waitMs), cause },
          'the feed cannot be read on; its readers wait',
        );
        await pause(waitMs);
        continue;
      }
      if (!isWoken) {
        const woken = new AbortController();
        wake = () => woken.abort();
        await sleep(pollMs, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(
          () => undefined,
        );
      }
      if (isWoken) await pause(collectMs);
    }
    unsubscribe();
  }

  /** Reads on to the end. */
  async #look(signal: AbortSignal): Promise<void> {
    if (this.#head === undefined) {
      const { end } = await readFeedEdges(this.#options.pool);
      if (!signal.aborted) this.#grow([], end);
    }
    for (let isEnd = false; !isEnd && !signal.aborted && this.#head !== undefined; ) {
      const page = await readFeed(this.#options.pool, { after: this.#head }, limits);
      // Whoever stopped this look may have begun another one.
      if (!signal.aborted) this.#grow(page.entries.map(feedFrame), page.upTo);
      isEnd = page.isEnd;
    }
  }

  #grow(frames: readonly FeedFrame[], head: FeedPosition): void {
    this.#ring.push(...frames);
    this.#bytes += frames.reduce((sum, { bytes }) => sum + bytes.length, 0);
    this.#head = head;
    this.#floor ??= head;
    let dropped = 0;
    while (this.#bytes > ringBytes || this.#ring.length - dropped > ringEntries) {
      const entry = this.#ring[dropped];
      if (entry === undefined) break;
      this.#bytes -= entry.bytes.length;
      this.#floor = entry.position;
      dropped += 1;
    }
    this.#ring.splice(0, dropped);
    for (const wake of [...this.#waiting]) wake();
  }
}
