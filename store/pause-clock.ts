import type { Transaction } from './pool.js';

/**
 * Stops or starts the clocks of a run's hard and idle limit (decisions.md, Timeouts): they stand still while a request of the agent is pending
 * or the turn is parked. Called after each change of either, by a caller that holds the lock of the run's row.
 */
export async function refreshPauseClock(tx: Transaction, runId: string): Promise<void> {
  await tx.query(
    `with state as (
       select r.run_id, r.parked_at is not null
           or exists (select 1 from agent_requests q where q.run_id = r.run_id and q.state = 'pending') as paused
         from runs r where r.run_id = $1)
     update runs r set
       paused_ms = r.paused_ms + case when not s.paused and r.paused_since is not null
         then (extract(epoch from clock_timestamp() - r.paused_since) * 1000)::bigint else 0 end,
       paused_since = case when s.paused then coalesce(r.paused_since, clock_timestamp()) end
     from state s where r.run_id = s.run_id and s.paused is distinct from (r.paused_since is not null)`,
    [runId],
  );
}
