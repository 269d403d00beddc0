import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { ProducedEvent } from '../../contract/events.js';

/** One event above this becomes a marker; the server's limit of a line is 1 MB (contract: `ingestLimits`). */
export const maxEventBytes = 900_000;
/** What a line adds to its event. */
const lineOverheadBytes = 40;
const typeSchema = z.object({ type: z.string(), at: z.string().default(() => new Date().toISOString()) });
const markerTypes: readonly string[] = ['event_truncated', 'events_lost'];

/** An event as it waits to be sent. */
export interface Queued {
  readonly json: string;
  /** Of its line. */
  readonly bytes: number;
}

/** Events that were lost one after another, and the times of the first and the last. */
export interface Loss {
  readonly count: number;
  readonly from: string;
  readonly to: string;
  readonly reason?: string;
}

/** An event that is too large for a line is a marker before it has a sequence. */
export function queuedEvent(event: ProducedEvent & { readonly at: string }): Queued {
  const json = JSON.stringify(event);
  return Buffer.byteLength(json) <= maxEventBytes ? queued(json) : truncated(json, event);
}

/** In the place of what was lost, so that a reader sees it (decisions.md, "markers"). */
export function lossMarker(loss: Loss): Queued {
  return queued(JSON.stringify({ type: 'events_lost', at: loss.to, payload: { ...loss } }));
}

/** In the place of an event that the API refuses for good; undefined when that is such a marker itself. */
export function refusalMarker(
  { json }: Queued,
  refusal: { readonly tooLarge: boolean; readonly reason: string },
): Queued | undefined {
  const event = typeSchema.parse(JSON.parse(json));
  if (markerTypes.includes(event.type)) return undefined;
  if (refusal.tooLarge) return truncated(json, event);
  return lossMarker({ count: 1, from: event.at, to: event.at, reason: refusal.reason.slice(0, 500) });
}

function truncated(json: string, { type, at }: { readonly type: string; readonly at: string }): Queued {
  const bytes = Buffer.byteLength(json);
  const sha256 = createHash('sha256').update(json).digest('hex');
  return queued(
    JSON.stringify({ type: 'event_truncated', at, payload: { originalType: type, bytes, sha256 } }),
  );
}

/** As read back from the journal. */
export function queued(json: string): Queued {
  return { json, bytes: Buffer.byteLength(json) + lineOverheadBytes };
}
