import { vi } from 'vitest';
import { type Pool, type Transaction, withTransaction } from '../../store/pool.js';

/**
 * Lets `step` run into a lock of another transaction, where it stands still until `meanwhile` has happened there and is committed.
 *
 * @param lock a statement that takes the lock; `$1` is `sessionId`, if the statement has it.
 */
export async function standingStill<T>(
  pool: Pool,
  given: {
    readonly lock: string;
    readonly sessionId?: string;
    readonly step: () => Promise<T>;
    readonly meanwhile: (tx: Transaction) => Promise<void>;
  },
): Promise<T> {
  const { step } = await withTransaction(pool, async (tx) => {
    await tx.query(given.lock, given.sessionId === undefined ? [] : [given.sessionId]);
    const started = given.step();
    // Who awaits it is told of its failure; here it only must not count as unhandled.
    started.catch(() => undefined);
    await untilOneWaits(pool);
    await given.meanwhile(tx);
    return { step: started };
  });
  return step;
}

async function untilOneWaits(pool: Pool): Promise<void> {
  await vi.waitUntil(
    async () => {
      const waiting = await pool.query(
        `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      );
      return waiting.rows.length > 0;
    },
    { interval: 5, timeout: 900 },
  );
}
