import type { EventType, ProducedEvent } from '../contract/events.js';
import { idPrefixes } from '../contract/ids.js';
import { newId } from './new-id.js';
import type { Transaction } from './pool.js';
import { projectionInsert, projectionValues } from './projections.js';
import { storableJson } from './storable-json.js';

/** The events just stored: ids in order, `seq` from `firstSeq` on. */
export interface StoredEvents {
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly eventIds: readonly string[];
}

/**
 * Appends events of the control plane to a run's log in one statement and keeps the run's projection with at most one more (docs/adr/0014). The only
 * other writer of events is the append of a runner's batch (store/append-batch.ts). The caller holds the lock of the `run_log` row, knows its `lastSeq`, and writes it.
 */
export async function insertEvents(
  tx: Transaction,
  log: { readonly runId: string; readonly epoch: number; readonly lastSeq: number },
  events: readonly ProducedEvent[],
): Promise<StoredEvents> {
  const eventIds = events.map(() => newId(idPrefixes.event));
  const types: EventType[] = events.map(({ type }) => type);
  await tx.query(
    `insert into events (run_id, seq, event_id, epoch, type, at, payload, raw, xid)
     select $1, $2::bigint + n.position, n.event_id, $3, n.type, coalesce(n.at, now()), n.payload::jsonb, n.raw::jsonb,
         (select greatest(pg_current_xact_id(), last_xid) from run_log where run_id = $1)
       from unnest($4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::text[])
         with ordinality as n(event_id, type, at, payload, raw, position)`,
    [
      log.runId,
      log.lastSeq,
      log.epoch,
      eventIds,
      types,
      events.map(({ at }) => at ?? null),
      events.map(({ payload }) => storableJson(payload)),
      events.map(({ raw }) => (raw === undefined ? null : storableJson(raw))),
    ],
  );
  const change = projectionValues(log.epoch, events, eventIds);
  if (change !== null) {
    await tx.query(`with log as (select $2::bigint as base) ${projectionInsert(3)}`, [
      log.runId,
      log.lastSeq,
      ...change,
    ]);
  }
  return { firstSeq: log.lastSeq + 1, lastSeq: log.lastSeq + events.length, eventIds };
}
