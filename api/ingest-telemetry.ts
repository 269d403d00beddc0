import type { IngestLine } from '../contract/ingest.js';
import type { IngestResult } from '../store/ingest.js';
import type { ApiDeps } from './deps.js';
import type { RequestTrace } from './trace.js';

/** Counts a batch of a runner's events and tells the spans of those that were new to the log. */
export function tellIngest(
  { metrics, spans }: Pick<ApiDeps, 'metrics' | 'spans'>,
  batch: {
    readonly runId: string;
    readonly lines: readonly IngestLine[];
    readonly result: IngestResult;
    readonly trace: RequestTrace;
  },
): void {
  const { answer, quarantined, refusal } = batch.result;
  metrics.eventsIngested(answer);
  metrics.eventsQuarantined(quarantined);
  if (answer.accepted === 0) return;
  const nowMs = Date.now();
  const formerSeq = answer.lastAcceptedSeq - answer.accepted;
  const stored = batch.lines
    .filter((line) => line.seq > formerSeq && line.seq <= answer.lastAcceptedSeq)
    .map((line) => line.event);
  for (const event of stored) metrics.eventStored(event.at, nowMs);
  spans.events(
    {
      runId: batch.runId,
      method: 'POST',
      route: batch.trace.facts.route ?? '',
      status: refusal?.httpStatus ?? 200,
      startedAtMs: batch.trace.startedAtMs,
    },
    stored,
  );
}
