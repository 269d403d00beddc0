import type { LogRead } from '../../store/log-reads.js';
import { frame } from './stream-source.js';

/** A stored event, or events that are stored no more. */
export type LogItem =
  | { readonly kind: 'event'; readonly seq: number; readonly json: string }
  | { readonly kind: 'gap'; readonly from: number; readonly to: number };

/** A piece of a log without a hole: everything after `from` up to `to` is one of its items. */
export interface LogPiece {
  readonly from: number;
  readonly to: number;
  readonly items: readonly LogItem[];
}

/** What was read after `from`, the holes named. */
export function pieceOf(from: number, { events, upTo }: Pick<LogRead, 'events' | 'upTo'>): LogPiece {
  const items: LogItem[] = [];
  let expected = from + 1;
  for (const { seq, json } of events) {
    if (seq > expected) items.push({ kind: 'gap', from: expected, to: seq - 1 });
    items.push({ kind: 'event', seq, json });
    expected = seq + 1;
  }
  if (upTo >= expected) items.push({ kind: 'gap', from: expected, to: upTo });
  return { from, to: Math.max(from, upTo), items };
}

/** How a stream names a place in the log of a run: by its seq, or with the turn in front where the stream is of a session. */
export type Place = (seq: number) => number | string;
export const placeInRun: Place = (seq) => seq;
export const placeInTurn =
  (turn: number): Place =>
  (seq) =>
    `${turn}.${seq}`;

/** The frames of a piece for a reader that has everything up to `cursor`. */
export function framesOf({ items }: LogPiece, cursor: number, place: Place): string {
  let text = '';
  for (const item of items) {
    if (item.kind === 'event') {
      if (item.seq > cursor) text += `id: ${place(item.seq)}\ndata: ${item.json}\n\n`;
    } else if (item.to > cursor) {
      const from = place(Math.max(item.from, cursor + 1));
      text += frame({ name: 'gap' }, { from, to: place(item.to), reason: 'retention' });
    }
  }
  return text;
}
