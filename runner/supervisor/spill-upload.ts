import {
  ApiError,
  backoffMs,
  type ClientLog,
  ConnectionError,
  errorLine,
  pause,
} from '../../client/index.js';
import type { IngestLine } from '../../contract/ingest.js';
import { isFinalRefusal } from './api-refusals.js';
import { maxSpillBytes, spilledLines } from './event-spill.js';
import type { RunFolder } from './run-folder.js';

const requestTimeoutMs = 15_000;
const attempts = 5;
const retryDelays = { baseDelayMs: 200, maxDelayMs: 3_000 };
/** Limits of one request, below the server's. */
const maxBatchEvents = 900;
const maxBatchBytes = 4_000_000;

export interface SpillUploadOptions {
  readonly folder: RunFolder;
  /** Epoch of the present attempt; those before it are looked for. */
  readonly epoch: number;
  readonly send: (spilledEpoch: number, lines: string, timeoutMs: number) => Promise<unknown>;
  readonly signal: AbortSignal;
  readonly log: ClientLog;
}

/**
 * Uploads what former attempts of this run were killed with (architecture.md 5), oldest first, and removes each file that the API has taken. Never
 * rejects; what could not be uploaded stays for the next time. Bounded by a few tries per request and by `signal`.
 */
export async function uploadSpills(options: SpillUploadOptions): Promise<void> {
  const { folder, epoch, signal, log } = options;
  for (const former of await folder.spilledEpochs(epoch)) {
    if (signal.aborted) return;
    const path = folder.spillPath(former);
    let events = 0;
    try {
      for await (const batch of batches(spilledLines(() => folder.lines(path, maxSpillBytes * 2)))) {
        await sendBatch(former, batch, options);
        events += batch.length;
      }
    } catch (error) {
      log.warn({ spilledEpoch: former, events, ...errorLine(error) }, 'a spill was not uploaded to its end');
      // A file that cannot be read says nothing of the others; an API that does not take one now does.
      if (error instanceof ApiError || error instanceof ConnectionError) return;
      continue;
    }
    log.warn({ spilledEpoch: former, events }, 'uploaded what a former attempt left');
    await folder.remove(path);
  }
}

async function* batches(lines: AsyncIterable<IngestLine>): AsyncGenerator<IngestLine[]> {
  let batch: IngestLine[] = [];
  let bytes = 0;
  for await (const line of lines) {
    const size = Buffer.byteLength(JSON.stringify(line)) + 1;
    if (batch.length >= maxBatchEvents || (batch.length > 0 && bytes + size > maxBatchBytes)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(line);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

async function sendBatch(
  former: number,
  batch: readonly IngestLine[],
  options: SpillUploadOptions,
): Promise<void> {
  const { send, signal, log } = options;
  for (let attempt = 1; ; attempt += 1) {
    try {
      await send(former, `${batch.map((line) => JSON.stringify(line)).join('\n')}\n`, requestTimeoutMs);
      return;
    } catch (error) {
      if (isUnacceptable(error) && batch.length > 1) {
        // One of them is refused for good: the others are not lost with it.
        for (const line of batch) await sendBatch(former, [line], options);
        return;
      }
      if (isUnacceptable(error)) {
        log.warn(
          { spilledEpoch: former, seq: batch[0]?.seq, ...errorLine(error) },
          'a spilled event is refused',
        );
        return;
      }
      if (isFinalRefusal(error) || attempt >= attempts || signal.aborted) throw error;
      const delayMs = backoffMs(
        retryDelays,
        attempt,
        error instanceof ApiError ? error.retryAfterSeconds : undefined,
      );
      log.warn(
        { attempt, attempts, delayMs, spilledEpoch: former, ...errorLine(error) },
        'a spill was not taken',
      );
      await pause(delayMs, signal);
    }
  }
}

/** Whatever stands before the API may have a limit of its own; any other word of it is not the API's. */
function isUnacceptable(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  return error.status === 413 || (isFinalRefusal(error) && [400, 422].includes(error.status));
}
