import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { IngestLine } from '../../contract/ingest.js';
import { openRegular } from './regular-file.js';
import { markAfter, noMark, wholeEventsIn } from './spill-format.js';

const segmentPattern = /^events-(\d{1,9})(?:\.(\d{1,9}))?\.ndjson$/;
/** Of one segment; those of earlier releases are whole spills. */
const maxSegmentBytes = 128 * 1024 * 1024;
/** Limits of one request, below the server's (contract: `ingestLimits`). */
export const batchLimits = { events: 900, bytes: 4_000_000 } as const;

/** One file of the events that an attempt could not send; an attempt's segments are read in the order of their index. */
export interface SpillSegment {
  readonly epoch: number;
  readonly index: number;
  readonly path: string;
}

export function segmentPath(folder: string, epoch: number, index: number): string {
  return join(folder, index === 0 ? `events-${epoch}.ndjson` : `events-${epoch}.${index}.ndjson`);
}

/** The segments among the files of a run's folder, oldest first. */
export function segmentsAmong(folder: string, names: readonly string[]): SpillSegment[] {
  return names
    .flatMap((name) => {
      const found = segmentPattern.exec(name);
      if (found === null) return [];
      return [{ epoch: Number(found[1]), index: Number(found[2] ?? 0), path: join(folder, name) }];
    })
    .toSorted((one, other) => one.epoch - other.epoch || one.index - other.index);
}

/** What each attempt left in the folder of its run, oldest first; none when there is no folder. */
export async function spillsIn(folder: string): Promise<Map<number, string[]>> {
  const spills = new Map<number, string[]>();
  for (const { epoch, path } of segmentsAmong(folder, await readdir(folder).catch(() => [])))
    spills.set(epoch, [...(spills.get(epoch) ?? []), path]);
  return spills;
}

/**
 * The events of an attempt that were not marked as accepted, in their order and under their sequence, in batches of one request. The segments are
 * gone through twice, for the marks stand behind what they mark; no more than one is in memory.
 *
 * @throws Error when a segment cannot be read, is no regular file or a link, or is larger than any of ours.
 */
export async function* spilledBatches(paths: readonly string[]): AsyncGenerator<IngestLine[]> {
  let mark = noMark;
  for (const path of paths) mark = markAfter(await readSegment(path), mark);
  let last = mark.accepted;
  let batch: IngestLine[] = [];
  let bytes = 0;
  for (const path of paths) {
    for (const line of wholeEventsIn(await readSegment(path))) {
      if (line.seq <= last || line.seq + mark.shift < 1) continue;
      last = line.seq;
      const size = Buffer.byteLength(JSON.stringify(line)) + 1;
      if (batch.length >= batchLimits.events || (batch.length > 0 && bytes + size > batchLimits.bytes)) {
        yield batch;
        batch = [];
        bytes = 0;
      }
      batch.push({ seq: line.seq + mark.shift, event: line.event });
      bytes += size;
    }
  }
  if (batch.length > 0) yield batch;
}

async function readSegment(path: string): Promise<string> {
  const file = await openRegular(path, maxSegmentBytes);
  try {
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
