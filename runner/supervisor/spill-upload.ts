import {
  ApiError,
  backoffMs,
  type ClientLog,
  ConnectionError,
  errorLine,
  pause,
} from '../../client/index.js';
import { producedEventSchema } from '../../contract/events.js';
import type { IngestLine } from '../../contract/ingest.js';
import { spilledBatches, spillsIn } from '../../infra/spill/spill-files.js';
import { isFinalRefusal, isUnacceptable } from './api-refusals.js';
import { queued, refusalMarker } from './queued-event.js';
import type { RunFolder } from './run-folder.js';

const requestTimeoutMs = 15_000;
const attempts = 5;
const retryDelays = { baseDelayMs: 200, maxDelayMs: 3_000 };

export interface SpillUploadOptions {
  readonly folder: RunFolder;
  /** Epoch of the present attempt; those before it are looked for. */
  readonly epoch: number;
  readonly send: (spilledEpoch: number, lines: string, timeoutMs: number) => Promise<unknown>;
  readonly signal: AbortSignal;
  readonly log: ClientLog;
}

/**
 * Uploads what former attempts of this run were killed with (architecture.md 5), oldest first, and removes what the API has taken. Never
 * rejects; what could not be uploaded stays for the next time. Bounded by a few tries per request and by `signal`.
 */
export async function uploadSpills(options: SpillUploadOptions): Promise<void> {
  const { folder, epoch, signal, log } = options;
  const spills = await spillsIn(folder.path).catch((error: unknown) => {
    log.warn({ path: folder.path, ...errorLine(error) }, 'what former attempts left was not looked at');
    return new Map<number, string[]>();
  });
  for (const [former, paths] of spills) {
    if (former >= epoch) continue;
    if (signal.aborted) return;
    let events = 0;
    const onTooLong = (lines: number) =>
      log.warn({ spilledEpoch: former, lines }, 'lines of a spill are too long: they are left out');
    try {
      for await (const batch of spilledBatches(paths, { signal, onTooLong })) {
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
    for (const path of paths) await folder.remove(path);
  }
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
      if (isUnacceptable(error)) return sendWithout(former, batch, error, options);
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

/** One line of the batch is refused for good: a marker takes its place, and the others are not lost with it. */
async function sendWithout(
  former: number,
  batch: readonly IngestLine[],
  refusal: ApiError,
  options: SpillUploadOptions,
): Promise<void> {
  if (batch.length > 1) {
    for (const line of batch) await sendBatch(former, [line], options);
    return;
  }
  const [line] = batch;
  if (line === undefined) return;
  options.log.warn(
    { spilledEpoch: former, seq: line.seq, ...errorLine(refusal) },
    'a spilled event is refused',
  );
  const reason = `refused by the API: ${refusal.message}`;
  const marker = refusalMarker(queued(JSON.stringify(line.event)), {
    tooLarge: refusal.status === 413,
    reason,
  });
  if (marker === undefined) return;
  await sendBatch(
    former,
    [{ seq: line.seq, event: producedEventSchema.parse(JSON.parse(marker.json)) }],
    options,
  );
}
