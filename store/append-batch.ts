import { idPrefixes } from '../contract/ids.js';
import type { IngestLine } from '../contract/ingest.js';
import { keptEvent } from '../domain/runner-evidence.js';
import { batchProgress, progressParts } from './attempt-progress.js';
import { newId } from './new-id.js';
import type { Queryable } from './pool.js';
import { projectionInsert, projectionValues } from './projections.js';
import type { RunnerIdentity } from './runner-identity.js';
import { storableJson } from './storable-json.js';

/** A line of a runner. `json`: the line as it came, in UTF-8, when it says in jsonb what it says here; otherwise that is written anew. */
export interface ReceivedLine extends IngestLine {
  readonly json?: Uint8Array | undefined;
}

/**
 * The whole append in one statement, because each one more costs a batch a way to Postgres and back. Everything that decides stands in the row of the
 * log: after a wait for its lock Postgres looks at this row again, and at no other.
 */
const append = (projection: string) => `
  with log as (
    update run_log set last_seq = last_seq + $4, epoch = $2, last_producer_seq = $5::bigint + $4 - 1, last_event_at = now(),
       last_xid = greatest(pg_current_xact_id(), last_xid)
     where run_id = $1 and writer_epoch = $2 and writer = $3 and closed_at is null and completed_epoch is distinct from $2
       and case when epoch = $2 then last_producer_seq else 0 end = $5::bigint - 1
    returning last_seq - $4 as base, last_xid),
  stored as (
    insert into events (run_id, seq, event_id, epoch, producer_seq, type, at, payload, raw, xid)
    select $1, log.base + n.position, n.event_id, $2, $5::bigint + n.position - 1, l.event ->> 'type',
        coalesce((l.event ->> 'at')::timestamptz, now()), l.event -> 'payload', l.event -> 'raw', log.last_xid
      from log, rows from (jsonb_array_elements($6::jsonb), unnest($7::text[])) with ordinality as n(line, event_id, position),
        lateral (select n.line -> 'event') as l(event)),
  ${progressParts({ isOutput: '$8', isProgress: '$9' })}${projection}
  select from log`;
const statements = {
  plain: { name: 'append-batch', text: append('') },
  projecting: { name: 'append-batch-projecting', text: append(`, projected as (${projectionInsert(10)})`) },
} as const;

/**
 * Appends lines that follow each other to the log of the runner's run: the one way for a runner's events into it (architecture.md 5, 6). Answers false,
 * and has changed nothing, when the first is not the next that is expected of this epoch, when the attempt is not current or another runner's, when the
 * run has ended, or when the producer of this epoch has completed its stream. In autocommit a single statement stores all or nothing.
 */
export async function appendBatch(
  db: Queryable,
  runner: RunnerIdentity,
  lines: readonly ReceivedLine[],
): Promise<boolean> {
  const eventIds = lines.map(() => newId(idPrefixes.event));
  const events = lines.map((line) => keptEvent(line.event));
  const { isOutput, isProgress } = batchProgress(lines.map(({ event }) => event));
  const projection = projectionValues(runner.epoch, events, eventIds);
  const json = lines.map((line, index) =>
    line.json !== undefined && events[index] === line.event
      ? line.json
      : Buffer.from(storableJson({ event: events[index] ?? null })),
  );
  const appended = await db.query({
    ...(projection === null ? statements.plain : statements.projecting),
    values: [
      runner.runId,
      runner.epoch,
      runner.runnerId,
      lines.length,
      lines[0]?.seq ?? 0,
      binaryJsonb(json),
      eventIds,
      isOutput,
      isProgress,
      ...(projection ?? []),
    ],
  });
  return appended.rowCount === 1;
}

const versionAndBegin = Buffer.of(1, 0x5b);
const comma = Buffer.of(0x2c);
const end = Buffer.of(0x5d);

/** A list of JSON values as jsonb in Postgres' binary format, which is a version and text: as bytes they are copied, as a string they would be encoded. */
function binaryJsonb(values: readonly Uint8Array[]): Buffer {
  const separated = values.flatMap((value, index) => (index === 0 ? [value] : [comma, value]));
  return Buffer.concat([versionAndBegin, ...separated, end]);
}
