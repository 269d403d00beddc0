import { isDeepStrictEqual } from 'node:util';
import type { Logger } from '../../infra/telemetry/logger.js';
import type { Listener } from '../../store/listener.js';
import type { Pool } from '../../store/pool.js';
import { readSessionStates, type SessionState } from '../../store/session-turns.js';
import { BatchedLooks } from './batched-looks.js';
import { News } from './news.js';

/** News of one session, shared by all who wait for its next turn in this process. */
export class SessionTail {
  #state: SessionState | 'unknown' | undefined = 'unknown';
  #version = 0;
  readonly #news = new News();

  /** Counts the changes that were seen. */
  get version(): number {
    return this.#version;
  }

  /** Takes what was seen; undefined: there is no such session. */
  see(state: SessionState | undefined): void {
    if (isDeepStrictEqual(state, this.#state)) return;
    this.#state = state;
    this.#version += 1;
    this.#news.tell();
  }

  /** Resolves when there is a change that was not seen at `version`, or when `signal` is aborted. */
  async changedSince(version: number, signal: AbortSignal): Promise<void> {
    if (this.#version === version) await this.#news.next(signal);
  }
}

/** The sessions whose next turn or end streams of this process wait for, looked at by one loop. */
export class SessionTails {
  readonly #tails = new Map<string, { readonly tail: SessionTail; readers: number }>();
  readonly #looks: BatchedLooks;

  constructor({ pool, listener, logger }: { pool: Pool; listener: Listener; logger: Logger }) {
    this.#looks = new BatchedLooks({
      listener,
      channel: 'agentrun_session',
      logger,
      look: async (sessionIds) => {
        const found = await readSessionStates(pool, sessionIds);
        for (const sessionId of sessionIds) this.#tails.get(sessionId)?.tail.see(found.get(sessionId));
        return [];
      },
    });
  }

  /** Call {@link leave} when done. */
  join(sessionId: string): SessionTail {
    const followed = this.#tails.get(sessionId) ?? { tail: new SessionTail(), readers: 0 };
    followed.readers += 1;
    if (followed.readers === 1) {
      this.#tails.set(sessionId, followed);
      this.#looks.follow(sessionId);
    }
    return followed.tail;
  }

  leave(sessionId: string): void {
    const followed = this.#tails.get(sessionId);
    if (followed === undefined) return;
    followed.readers -= 1;
    if (followed.readers > 0) return;
    this.#tails.delete(sessionId);
    this.#looks.unfollow(sessionId);
  }
}
