import { refreshPauseClock } from './pause-clock.js';
import type { Transaction } from './pool.js';

/**
 * Ends requests that nobody waits for any more: `superseded` when their runner was lost (the next attempt asks anew), `withdrawn` when their turn
 * ended. The caller holds the lock of the run's row. Answers the ids that were pending.
 */
export async function closePendingRequests(
  tx: Transaction,
  runId: string,
  state: 'superseded' | 'withdrawn',
): Promise<string[]> {
  const closed = await tx.query<{ request_id: string }>(
    `update agent_requests set state = $2, resolution = jsonb_build_object('resolution', $2::text), resolved_at = now()
      where run_id = $1 and state = 'pending' returning request_id`,
    [runId, state],
  );
  if (closed.rows.length > 0) await refreshPauseClock(tx, runId);
  return closed.rows.map((row) => row.request_id);
}
