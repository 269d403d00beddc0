import type { ProducedEvent } from '../contract/events.js';
import { progressOf } from '../domain/event-progress.js';
import type { Transaction } from './pool.js';
import type { RunnerIdentity } from './runner-identity.js';

/**
 * Notes that the attempt has begun, whether it goes on and whether the model was heard (domain/event-progress.ts): what the idle and the first-output
 * limit count from. At most twice a second.
 */
export async function noteProgress(
  tx: Transaction,
  runner: RunnerIdentity,
  events: readonly ProducedEvent[],
): Promise<void> {
  const said = events.map(progressOf);
  // Both rows are also written by those who lock the log after them: skipped when locked, the next batch or heartbeat makes up for it.
  await tx.query(
    `update attempts set first_event_at = coalesce(first_event_at, now()),
       last_progress_at = case when $4 then now() else last_progress_at end,
       first_output_at = case when $3 then coalesce(first_output_at, now()) else first_output_at end
      where (run_id, epoch) in (
        select run_id, epoch from attempts
         where run_id = $1 and epoch = $2 and (first_event_at is null
           or ($4 and coalesce(last_progress_at < now() - interval '500 milliseconds', true)) or ($3 and first_output_at is null))
         for no key update skip locked)`,
    [
      runner.runId,
      runner.epoch,
      said.some(({ isOutput }) => isOutput),
      said.some(({ isProgress }) => isProgress),
    ],
  );
  await tx.query(
    `update runs set updated_at = now() where run_id in (
       select run_id from runs where run_id = $1 and updated_at < now() - interval '1 second' for no key update skip locked)`,
    [runner.runId],
  );
}
