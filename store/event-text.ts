import { z } from 'zod';

/** What a row says of an event whose JSON is made from the text that Postgres holds, never parsed on the way. */
export const eventTextSchema = z.object({
  run_id: z.string(),
  seq: z.number(),
  event_id: z.string(),
  epoch: z.number(),
  type: z.string(),
  at: z.string(),
  payload: z.string(),
  raw: z.string().nullable(),
});

/** An event on one line, with the fields in the order of `GET events`; behind them those of `more`. */
export function eventText(
  row: z.infer<typeof eventTextSchema>,
  more: Readonly<Record<string, string>> = {},
): string {
  const { run_id: runId, seq, event_id: eventId, epoch, type, at, payload, raw } = row;
  const head = JSON.stringify({ seq, eventId, runId, attempt: epoch, epoch, type, at }).slice(0, -1);
  const others = JSON.stringify(more).slice(1, -1);
  return `${head},"payload":${payload}${raw === null ? '' : `,"raw":${raw}`}${others === '' ? '' : `,${others}`}}`;
}
