import { z } from 'zod';
import { runIdSchema } from '../contract/ids.js';
import { type SessionCursor, sessionCursorSchema } from '../contract/streams.js';

/** The last event that was shown, by its run: it stays right when a session is deleted and made again under the same id. */
export const runPlaceSchema = z.object({ runId: runIdSchema, seq: z.number().int().nonnegative() });
export type RunPlace = z.infer<typeof runPlaceSchema>;

/** Where a watch begins, exclusive: behind an event of a run, or of a turn of the session. */
export type WatchPlace = RunPlace | SessionCursor;

/** Parses `--after`: `<turn>.<seq>`, which is the id of an event in `watch --json`, or `RUN:SEQ`. */
export function parsePlace(text: string): WatchPlace | undefined {
  const [runId, seq] = text.split(':');
  if (seq === undefined) return sessionCursorSchema.safeParse(text).data;
  return runPlaceSchema.safeParse({ runId, seq: seq === '' ? Number.NaN : Number(seq) }).data;
}

/** The id of an event of the session's stream. */
export const cursorText = ({ turn, seq }: SessionCursor): string => `${turn}.${seq}`;

/** Whether `one` comes after `other` in the session's stream. */
export const isAfter = (one: SessionCursor, other: SessionCursor): boolean =>
  one.turn > other.turn || (one.turn === other.turn && one.seq > other.seq);
