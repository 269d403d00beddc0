import type { EventType, ProducedEvent } from '../contract/events.js';
import { idPrefixes } from '../contract/ids.js';
import { newId } from './new-id.js';
import type { Transaction } from './pool.js';
import { projectEvents } from './projections.js';
import { storableJson } from './storable-json.js';

/** An event that is to be stored; `producerSeq` is null when the control plane writes it. */
export interface NewEvent {
  readonly event: ProducedEvent;
  readonly producerSeq: number | null;
}

/** The events just stored: ids in order, `seq` from `firstSeq` on. */
export interface StoredEvents {
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly eventIds: readonly string[];
}

/**
 * Appends to a run's log in one statement and keeps the run's projection with at most one more (docs/adr/0014). All writers of events come through
 * here. The caller holds the lock of the `run_log` row, knows its `lastSeq`, and writes it.
 */
export async function insertEvents(
  tx: Transaction,
  log: { readonly runId: string; readonly epoch: number; readonly lastSeq: number },
  events: readonly NewEvent[],
): Promise<StoredEvents> {
  const eventIds = events.map(() => newId(idPrefixes.event));
  const types: EventType[] = events.map(({ event }) => event.type);
  await tx.query(
    `insert into events (run_id, seq, event_id, epoch, producer_seq, type, at, payload, raw)
     select $1, $2::bigint + n.position, n.event_id, $3, n.producer_seq, n.type, coalesce(n.at, now()), n.payload::jsonb, n.raw::jsonb
       from unnest($4::text[], $5::bigint[], $6::text[], $7::timestamptz[], $8::text[], $9::text[])
         with ordinality as n(event_id, producer_seq, type, at, payload, raw, position)`,
    [
      log.runId,
      log.lastSeq,
      log.epoch,
      eventIds,
      events.map(({ producerSeq }) => producerSeq),
      types,
      events.map(({ event }) => event.at ?? null),
      events.map(({ event }) => storableJson(event.payload)),
      events.map(({ event }) => (event.raw === undefined ? null : storableJson(event.raw))),
    ],
  );
  const firstSeq = log.lastSeq + 1;
  await projectEvents(
    tx,
    { runId: log.runId, epoch: log.epoch, firstSeq },
    events.map(({ event }) => event),
    eventIds,
  );
  return { firstSeq, lastSeq: log.lastSeq + events.length, eventIds };
}
