import type { ProducedEvent } from '../contract/events.js';
import { storableText } from '../contract/text.js';
import { projectionChange, type UsageSum, usageCounters } from '../domain/event-projection.js';
import { isoTime } from './records.js';
import { storableJson } from './storable-json.js';

// One row per run, written with the events that it is made from (docs/adr/0014), so a result is read without the log. Runs that had events before
// the table existed have an empty row: what they said before is not in their result, only in their log.

const counters = ['requests', ...usageCounters] as const;
const usageSum = counters
  .map(
    (name) =>
      `'${name}', coalesce((p.proxy_usage ->> '${name}')::bigint, 0) + (excluded.proxy_usage ->> '${name}')::bigint`,
  )
  .join(', ');

/**
 * An event of the batch with its place in the log: the parameter counts from the batch's beginning. One without a time of its own was made by the control
 * plane, now.
 */
const placed = (parameter: string) =>
  `jsonb_build_object('at', ${isoTime('now()')}) || ${parameter}::jsonb
     || jsonb_build_object('seq', log.base + (${parameter}::jsonb ->> 'seq')::bigint)`;

/**
 * Keeps the projection of a run current with a batch of its events, in the statement that stores them. Needs a relation `log` with the seq `base` before
 * the batch, and the run as `$1`; the parameters of {@link projectionValues} begin with `$first`.
 */
export function projectionInsert(first: number): string {
  const value = (index: number) => `$${first + index}`;
  return `insert into run_projections as p (run_id, final_message, diff, proxy_usage, agent_usage, last_activity, last_error, recovered_seq,
       last_disconnect)
     select $1, ${value(0)}, ${value(1)}, ${value(2)}::jsonb, coalesce(${value(3)}::jsonb, '{}'), ${placed(value(4))}, ${placed(value(5))},
       log.base + ${value(6)}::bigint, ${placed(value(7))} from log
     on conflict (run_id) do update set
       final_message = case when ${value(8)} then excluded.final_message else p.final_message end,
       diff = case when ${value(9)} then excluded.diff else p.diff end,
       proxy_usage = case when excluded.proxy_usage is null then p.proxy_usage else jsonb_build_object(${usageSum}) end,
       agent_usage = p.agent_usage || excluded.agent_usage,
       last_activity = coalesce(excluded.last_activity, p.last_activity),
       last_error = coalesce(excluded.last_error, p.last_error),
       recovered_seq = case when excluded.last_error is not null then excluded.recovered_seq
         else coalesce(p.recovered_seq, case when p.last_error is not null then (select base from log) + ${value(10)}::bigint end) end,
       last_disconnect = coalesce(excluded.last_disconnect, p.last_disconnect)`;
}

/** The parameters of {@link projectionInsert}: what a batch changes in the projection of its run. Null when nothing. */
export function projectionValues(
  epoch: number,
  events: readonly ProducedEvent[],
  eventIds: readonly string[],
): unknown[] | null {
  const change = projectionChange(
    epoch,
    events.map((event, index) => ({ event, seq: index + 1, eventId: eventIds[index] ?? '' })),
  );
  if (change === null) return null;
  return [
    textOrNull(change.finalMessage?.text),
    textOrNull(change.diff?.text),
    jsonOrNull(change.proxyUsage),
    agentUsage(epoch, change.agentUsage),
    jsonOrNull(change.lastActivity),
    jsonOrNull(change.lastError),
    change.recoveredSeq,
    jsonOrNull(change.lastDisconnect),
    change.finalMessage !== null,
    change.diff !== null,
    change.firstOutputSeq,
  ];
}

const jsonOrNull = (value: unknown) => (value === null ? null : storableJson(value));
/** Of each attempt the last report counts. */
const agentUsage = (epoch: number, usage: UsageSum | null) =>
  usage === null ? null : JSON.stringify({ [epoch]: usage });
/** What jsonb cannot hold is replaced in the log and here alike. */
const textOrNull = (text: string | null | undefined) =>
  text === null || text === undefined ? null : storableText(text);
