import type { Queryable } from '../store/pool.js';
import {
  type AttemptKey,
  attemptName,
  loadSupervisionFacts,
  type StoredSupervisionFacts,
} from '../store/supervision-facts.js';

type Answer = (facts: StoredSupervisionFacts | undefined) => void;
interface Asked {
  readonly attempt: AttemptKey;
  readonly resolve: Answer;
  readonly reject: (error: unknown) => void;
}

/** Attempts in one statement; more are asked in the next. */
const largestBatch = 500;

/**
 * The looks of all supervising activities of a process at their attempts: those asked for at the same time, or while a query is under way, go into
 * one query (architecture.md 4.2: one batched poll per worker). A look is never older than its question: it joins only a query that has not begun.
 */
export class AttemptLooks {
  readonly #db: Queryable;
  #waiting: Asked[] = [];
  #isRunning = false;

  constructor(db: Queryable) {
    this.#db = db;
  }

  /** What Postgres knows about an attempt; undefined when it was never written. Rejects when Postgres does not answer. */
  look(attempt: AttemptKey): Promise<StoredSupervisionFacts | undefined> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ attempt, resolve, reject });
      if (this.#isRunning) return;
      this.#isRunning = true;
      // After everyone whom the same wake-up reached has asked.
      setImmediate(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, largestBatch);
      try {
        const found = await loadSupervisionFacts(
          this.#db,
          batch.map(({ attempt }) => attempt),
        );
        for (const { attempt, resolve, reject } of batch) {
          const facts = found.get(attemptName(attempt));
          if (facts instanceof Error) reject(facts);
          else resolve(facts);
        }
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#isRunning = false;
  }
}

/** A beat that all who wait for it share, so that their looks fall into one batch. It runs only while somebody listens. */
export class SharedBeat {
  readonly #intervalMs: number;
  readonly #callbacks = new Set<() => void>();
  #timer: NodeJS.Timeout | undefined;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  /** Calls `callback` on each beat until the returned function is called. It must not throw. */
  subscribe(callback: () => void): () => void {
    this.#callbacks.add(callback);
    this.#timer ??= setInterval(() => {
      for (const one of this.#callbacks) one();
    }, this.#intervalMs);
    return () => {
      this.#callbacks.delete(callback);
      if (this.#callbacks.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }
}

/** Something may have changed: rung by anyone, waited for by one. What rings between two waits is not missed. */
export class Bell {
  #rung = false;
  #wake: (() => void) | undefined;

  readonly ring = (): void => {
    this.#rung = true;
    this.#wake?.();
  };

  /** Resolves when it was rung since the last wait, after `limitMs`, or when the signal aborts. */
  async wait(limitMs: number, signal: AbortSignal): Promise<void> {
    if (!this.#rung && !signal.aborted) {
      await new Promise<void>((resolve) => {
        const end = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', end);
          this.#wake = undefined;
          resolve();
        };
        const timer = setTimeout(end, limitMs);
        signal.addEventListener('abort', end, { once: true });
        this.#wake = end;
      });
    }
    this.#rung = false;
  }
}
