import { z } from 'zod';
import { type IngestLine, ingestLineSchema } from '../../contract/ingest.js';

const eventStart = /^\{"seq":(\d+),"event":/;
const markStart = '{"accepted":';
const markSchema = z.strictObject({
  accepted: z.number().int().nonnegative(),
  shift: z.number().int().default(0),
});
/** Everything up to the ordinal `accepted` is stored or given up; what is behind it has the sequence ordinal + `shift`. */
export type SpillMark = z.infer<typeof markSchema>;

/** One event as its producer wrote it: its place in the order of the attempt, from 1 without gaps, and its JSON. */
export interface SpilledEvent {
  readonly ordinal: number;
  readonly json: string;
}

/** A line of a spill. Without a shift it is the line of ingest too. */
export const eventRecord = ({ ordinal, json }: SpilledEvent): string => `{"seq":${ordinal},"event":${json}}`;
export const markRecord = (mark: SpillMark): string => JSON.stringify(mark);

/** The events of a part that this process wrote, unparsed; marks are left out. */
export function eventsIn(text: string): SpilledEvent[] {
  return text.split('\n').flatMap((line) => {
    const found = eventStart.exec(line);
    return found === null ? [] : [{ ordinal: Number(found[1]), json: line.slice(found[0].length, -1) }];
  });
}

/** Before the first mark. */
export const noMark: SpillMark = { accepted: 0, shift: 0 };

/** The mark that holds at the end of a segment, given the one that held at its beginning. */
export function markAfter(text: string, before: SpillMark): SpillMark {
  let last = before;
  for (const line of text.split('\n')) {
    const mark = line.startsWith(markStart) ? markSchema.safeParse(parseJson(line)).data : undefined;
    if (mark !== undefined && mark.accepted >= last.accepted) last = mark;
  }
  return last;
}

/** The whole events of a text that a process may have died over: a cut line is left out. */
export function* wholeEventsIn(text: string): Generator<IngestLine> {
  for (const line of text.split('\n')) {
    const event = eventStart.test(line) ? ingestLineSchema.safeParse(parseJson(line)).data : undefined;
    if (event !== undefined) yield event;
  }
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
