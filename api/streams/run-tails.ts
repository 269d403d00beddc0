import type { Logger } from '../../infra/telemetry/logger.js';
import type { Listener } from '../../store/listener.js';
import { type LogReadLimits, readLogs } from '../../store/log-reads.js';
import type { Pool } from '../../store/pool.js';
import { BatchedLooks } from './batched-looks.js';
import type { DeltaTails } from './delta-tails.js';
import { RunTail } from './run-tail.js';

/** What one look brings of one run; with what {@link BatchedLooks} asks about at once it bounds the answer of Postgres. */
const tailLimits = { events: 200, bytes: 128 * 1_024 } as const;

/** The tails of all runs that streams of this process read, filled by one loop. A tail is there while somebody reads it. */
export class RunTails {
  readonly #tails = new Map<
    string,
    { readonly tail: RunTail; readonly live: ReturnType<DeltaTails['follow']>; readers: number }
  >();
  readonly #looks: BatchedLooks;
  readonly #deltas: DeltaTails;

  constructor({
    pool,
    listener,
    logger,
    deltas,
  }: {
    pool: Pool;
    listener: Listener;
    logger: Logger;
    deltas: DeltaTails;
  }) {
    this.#deltas = deltas;
    this.#looks = new BatchedLooks({
      listener,
      channel: 'agentrun_run',
      logger,
      look: (runIds, share) => this.#look(pool, runIds, partOf(share)),
    });
  }

  /** Reads along at the tail of a run; null: there is none that has all after `cursor`. Call {@link leave} when done. */
  joinIfCovered(runId: string, cursor: number): RunTail | null {
    const followed = this.#tails.get(runId);
    return followed?.tail.covers(cursor) === true ? this.join(runId, cursor) : null;
  }

  /** Reads along at the tail of a run, which begins after `cursor` if this is its first reader. Call {@link leave} when done. */
  join(runId: string, cursor: number): RunTail {
    const followed = this.#tails.get(runId);
    if (followed !== undefined) {
      followed.readers += 1;
      return followed.tail;
    }
    const live = this.#deltas.follow(runId, () => tail.wakeReaders());
    const tail = new RunTail(cursor, live.texts);
    this.#tails.set(runId, { tail, live, readers: 1 });
    this.#looks.follow(runId);
    return tail;
  }

  /** Ends a {@link join}; with its last reader the tail is forgotten. */
  leave(runId: string): void {
    const followed = this.#tails.get(runId);
    if (followed === undefined) return;
    followed.readers -= 1;
    if (followed.readers > 0) return;
    this.#tails.delete(runId);
    this.#looks.unfollow(runId);
    followed.live.close();
  }

  async #look(pool: Pool, runIds: readonly string[], limits: LogReadLimits): Promise<readonly string[]> {
    // Those of now: a tail that is made while Postgres answers begins elsewhere.
    const asked = runIds.flatMap((runId) => {
      const followed = this.#tails.get(runId);
      if (followed === undefined || followed.tail.end !== undefined) return [];
      return [{ ...followed, runId, afterSeq: followed.tail.head }];
    });
    if (asked.length === 0) return [];
    const found = await readLogs(pool, asked, limits);
    for (const { runId, tail, live } of asked) {
      // Before any reader goes on: text of an item whose event follows now is not sent any more.
      live.texts.passed(found.get(runId)?.events ?? []);
      tail.append(found.get(runId));
      if (tail.end !== undefined) live.close();
    }
    return asked.map(({ runId }) => runId).filter((runId) => hasMore(found.get(runId)));
  }
}

const hasMore = (read: { upTo: number; lastSeq: number } | undefined): boolean =>
  read !== undefined && read.upTo < read.lastSeq;

const partOf = (share: number): LogReadLimits => ({
  events: Math.max(1, Math.floor(tailLimits.events * share)),
  bytes: Math.max(1, Math.floor(tailLimits.bytes * share)),
});
