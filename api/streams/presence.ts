import { randomUUID } from 'node:crypto';
import type { Logger } from '../../infra/telemetry/logger.js';
import { deltaKeptSeconds, trimDeltas } from '../../store/deltas.js';
import type { Notifier } from '../../store/notifier.js';
import type { Pool } from '../../store/pool.js';
import { dropExpiredWatchers, dropWatched, saveWatched, watcherTtlMs } from '../../store/watchers.js';

const refreshMs = watcherTtlMs / 3;
/** A reader that comes back so soon, as after a rotation, has not left. */
const lingerMs = 2_000;
/** So often it goes on after the last reader: until the text that was sent to it has its age and is trimmed. */
const lastRounds = 2 + Math.ceil((deltaKeptSeconds * 1_000) / refreshMs);

interface Watched {
  readers: number;
  /** Runs while there is no reader. */
  leaving: NodeJS.Timeout | undefined;
}

/**
 * Tells runners which of their runs somebody reads in this process, by rows that expire (docs/adr/0021): written at the first reader, again every 15 s
 * for all runs in one statement, and removed after the last. What cannot be written is tried again at the next refresh.
 */
export class Presence {
  readonly #pool: Pool;
  readonly #notifier: Notifier;
  readonly #logger: Logger;
  readonly #processId = randomUUID();
  readonly #watched = new Map<string, Watched>();
  /** What stands in Postgres, as far as is known. */
  readonly #told = new Set<string>();
  #telling = Promise.resolve();
  #isTelling = false;
  #refresh: NodeJS.Timeout | undefined;
  #roundsLeft = 0;
  #closed = false;

  constructor({ pool, notifier, logger }: { pool: Pool; notifier: Notifier; logger: Logger }) {
    this.#pool = pool;
    this.#notifier = notifier;
    this.#logger = logger;
  }

  /** Somebody reads the run until the returned function is called. */
  watch(runId: string): () => void {
    const watched = this.#watched.get(runId) ?? { readers: 0, leaving: undefined };
    this.#watched.set(runId, watched);
    watched.readers += 1;
    clearTimeout(watched.leaving);
    this.#tell();
    let left = false;
    return () => {
      if (left) return;
      left = true;
      watched.readers -= 1;
      if (watched.readers > 0) return;
      watched.leaving = setTimeout(() => {
        this.#watched.delete(runId);
        this.#tell();
      }, lingerMs).unref();
    };
  }

  /** Takes back what was said; nothing is said any more. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#refresh);
    for (const { leaving } of this.#watched.values()) clearTimeout(leaving);
    this.#watched.clear();
    await this.#telling;
    await this.#tellNews();
  }

  /** Brings what stands in Postgres up to date; what goes on already looks once more by itself. */
  #tell(): void {
    if (this.#closed) return;
    this.#roundsLeft = lastRounds;
    this.#refresh ??= setTimeout(() => void this.#refreshAll(), refreshMs).unref();
    if (!this.#isTelling) this.#telling = this.#tellNews();
  }

  async #tellNews(): Promise<void> {
    this.#isTelling = true;
    try {
      for (;;) {
        const come = [...this.#watched.keys()].filter((runId) => !this.#told.has(runId));
        const gone = [...this.#told].filter((runId) => !this.#watched.has(runId));
        if (come.length === 0 && gone.length === 0) return;
        if (come.length > 0) await saveWatched(this.#pool, this.#processId, come);
        for (const runId of come) this.#told.add(runId);
        if (gone.length > 0) await dropWatched(this.#pool, this.#processId, gone);
        for (const runId of gone) this.#told.delete(runId);
        for (const runId of [...come, ...gone]) this.#notifier.notify('agentrun_attempt', runId);
      }
    } catch (cause) {
      this.#logger.warn({ cause }, 'runners are not told who watches; it is tried again');
    } finally {
      this.#isTelling = false;
    }
  }

  async #refreshAll(): Promise<void> {
    if (!this.#isTelling) this.#telling = this.#tellNews();
    await this.#telling;
    try {
      if (this.#told.size > 0) await saveWatched(this.#pool, this.#processId, [...this.#told]);
      await dropExpiredWatchers(this.#pool);
      await trimDeltas(this.#pool);
    } catch (cause) {
      this.#logger.warn({ cause }, 'runners are not told who watches; it is tried again');
    }
    this.#refresh = undefined;
    if (this.#watched.size > 0) this.#roundsLeft = lastRounds;
    this.#roundsLeft -= 1;
    if (!this.#closed && this.#roundsLeft > 0)
      this.#refresh = setTimeout(() => void this.#refreshAll(), refreshMs).unref();
  }
}
