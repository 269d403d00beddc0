import type { ProducedEvent } from '../contract/events.js';
import { projectionChange, type UsageSum, usageCounters } from '../domain/event-projection.js';
import type { Transaction } from './pool.js';
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

/** An event without a time of its own was made by the control plane, now. */
const placed = (parameter: string) => `jsonb_build_object('at', ${isoTime('now()')}) || ${parameter}::jsonb`;

/**
 * Keeps the projection of a run current for events that its transaction has just stored from `firstSeq` on: at most one statement per batch. The
 * caller holds the lock of the `run_log` row.
 */
export async function projectEvents(
  tx: Transaction,
  log: { readonly runId: string; readonly epoch: number; readonly firstSeq: number },
  events: readonly ProducedEvent[],
  eventIds: readonly string[],
): Promise<void> {
  const change = projectionChange(
    log.epoch,
    events.map((event, index) => ({ event, seq: log.firstSeq + index, eventId: eventIds[index] ?? '' })),
  );
  if (change === null) return;
  await tx.query(
    `insert into run_projections as p (run_id, final_message, diff, proxy_usage, agent_usage, last_activity, last_error, recovered_seq,
       last_disconnect)
     values ($1, $2, $3, $4::jsonb, coalesce($5::jsonb, '{}'), ${placed('$6')}, ${placed('$7')}, $8::bigint, ${placed('$9')})
     on conflict (run_id) do update set
       final_message = case when $10 then excluded.final_message else p.final_message end,
       diff = case when $11 then excluded.diff else p.diff end,
       proxy_usage = case when excluded.proxy_usage is null then p.proxy_usage else jsonb_build_object(${usageSum}) end,
       agent_usage = p.agent_usage || excluded.agent_usage,
       last_activity = coalesce(excluded.last_activity, p.last_activity),
       last_error = coalesce(excluded.last_error, p.last_error),
       recovered_seq = case when excluded.last_error is not null then excluded.recovered_seq
         else coalesce(p.recovered_seq, case when p.last_error is not null then $12::bigint end) end,
       last_disconnect = coalesce(excluded.last_disconnect, p.last_disconnect)`,
    [
      log.runId,
      storableText(change.finalMessage?.text),
      storableText(change.diff?.text),
      jsonOrNull(change.proxyUsage),
      agentUsage(log.epoch, change.agentUsage),
      jsonOrNull(change.lastActivity),
      jsonOrNull(change.lastError),
      change.recoveredSeq,
      jsonOrNull(change.lastDisconnect),
      change.finalMessage !== null,
      change.diff !== null,
      change.firstOutputSeq,
    ],
  );
}

const jsonOrNull = (value: unknown) => (value === null ? null : storableJson(value));
/** Of each attempt the last report counts. */
const agentUsage = (epoch: number, usage: UsageSum | null) =>
  usage === null ? null : JSON.stringify({ [epoch]: usage });
/** Postgres' text takes no U+0000; what jsonb cannot hold is replaced in the log and here alike. */
const storableText = (text: string | null | undefined) =>
  text === null || text === undefined ? null : text.replace(/\0|\p{Surrogate}/gu, '\u{fffd}');
