import type { ProducedEvent } from '../contract/events.js';
import { progressOf } from '../domain/event-progress.js';

/**
 * Parts of an append (store/append-batch.ts): notes that the attempt has begun, whether it goes on and whether the model was heard
 * (domain/event-progress.ts), which is what the idle and the first-output limit count from. At most twice a second.
 *
 * Both rows are also written by those who lock the log after them: skipped when locked, the next batch or heartbeat makes up for it.
 *
 * @param isOutput names the parameter that says it, as `isProgress` does; the run is `$1`, the epoch `$2`, the log's row `log`.
 */
export const progressParts = ({ isOutput, isProgress }: Record<keyof BatchProgress, string>) => `
  noted as (
    update attempts set first_event_at = coalesce(first_event_at, now()),
      last_progress_at = case when ${isProgress} then now() else last_progress_at end,
      first_output_at = case when ${isOutput} then coalesce(first_output_at, now()) else first_output_at end
     where (run_id, epoch) in (
       select run_id, epoch from attempts
        where run_id = $1 and epoch = $2 and exists (select 1 from log) and (first_event_at is null
          or (${isProgress} and coalesce(last_progress_at < now() - interval '500 milliseconds', true))
          or (${isOutput} and first_output_at is null))
        for no key update skip locked)),
  touched as (
    update runs set updated_at = now() where run_id in (
      select run_id from runs where run_id = $1 and updated_at < now() - interval '1 second' and exists (select 1 from log)
       for no key update skip locked))`;

/** What a batch says of the agent behind it. */
export interface BatchProgress {
  readonly isOutput: boolean;
  readonly isProgress: boolean;
}

export function batchProgress(events: readonly ProducedEvent[]): BatchProgress {
  const said = events.map(progressOf);
  return {
    isOutput: said.some(({ isOutput }) => isOutput),
    isProgress: said.some(({ isProgress }) => isProgress),
  };
}
