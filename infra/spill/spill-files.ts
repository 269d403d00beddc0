import { opendir } from 'node:fs/promises';
import { join } from 'node:path';
import type { IngestLine } from '../../contract/ingest.js';
import { openRegular } from './regular-file.js';
import { markAfter, noMark, wholeEventIn } from './spill-format.js';
import { SpillLines, spillLimits } from './spill-lines.js';

const segmentPattern = /^events-(\d{1,9})(?:\.(\d{1,9}))?\.ndjson$/;
/** Of one segment: some of ours, for one grows beyond its limit by the marks. */
const maxSegmentBytes = 4 * spillLimits.segmentBytes;
/** Of the folder of a run, in which there are some segments of each attempt and two files more. */
const maxFiles = 10_000;
/** Read at once: a file of nothing but line ends holds up the process no longer than this takes. */
const readBytes = 128 * 1024;
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

/**
 * What each attempt left in the folder of its run, oldest first.
 *
 * @throws Error when it cannot be read, or has more files than any of ours.
 */
export async function spillsIn(folder: string): Promise<Map<number, string[]>> {
  const names: string[] = [];
  for await (const { name } of await opendir(folder)) {
    if (names.length >= maxFiles) throw new Error(`${folder} has more than ${maxFiles} files`);
    names.push(name);
  }
  const spills = new Map<number, string[]>();
  for (const { epoch, path } of segmentsAmong(folder, names))
    spills.set(epoch, [...(spills.get(epoch) ?? []), path]);
  return spills;
}

export interface SpillReading {
  /** Breaks it off. */
  readonly signal?: AbortSignal | undefined;
  /** Told once, of lines that are longer than any of ours. */
  readonly onTooLong?: ((lines: number) => void) | undefined;
}

/**
 * The events of an attempt that were not marked as accepted, in their order and under their sequence, in batches of one request. The segments are
 * gone through twice, for the marks stand behind what they mark; no more than one batch is in memory.
 *
 * @throws Error when a segment cannot be read, is no regular file or a link, or when there is more than an attempt of ours leaves.
 */
export async function* spilledBatches(
  paths: readonly string[],
  { signal, onTooLong }: SpillReading = {},
): AsyncGenerator<IngestLine[]> {
  let mark = noMark;
  const marks = new SpillLines();
  for await (const line of linesOf(paths, marks, signal)) mark = markAfter(line, mark);
  if (marks.tooLong > 0) onTooLong?.(marks.tooLong);
  let last = mark.accepted;
  let batch: IngestLine[] = [];
  let bytes = 0;
  for await (const text of linesOf(paths, new SpillLines(), signal)) {
    const line = wholeEventIn(text);
    if (line === undefined || line.seq <= last) continue;
    const seq = line.seq + mark.shift;
    if (seq < 1 || !Number.isSafeInteger(seq)) continue;
    last = line.seq;
    const size = Buffer.byteLength(JSON.stringify(line)) + 1;
    if (batch.length >= batchLimits.events || (batch.length > 0 && bytes + size > batchLimits.bytes)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push({ seq, event: line.event });
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

async function* linesOf(
  paths: readonly string[],
  lines: SpillLines,
  signal: AbortSignal | undefined,
): AsyncGenerator<string> {
  for (const path of paths) {
    const file = await openRegular(path, maxSegmentBytes);
    try {
      for (;;) {
        signal?.throwIfAborted();
        const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(readBytes));
        if (bytesRead === 0) break;
        yield* lines.add(buffer.subarray(0, bytesRead));
      }
    } finally {
      await file.close();
    }
    yield* lines.end();
  }
}
