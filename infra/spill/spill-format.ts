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

/** The mark that holds behind a line, given the one that held before it. */
export function markAfter(line: string, before: SpillMark): SpillMark {
  const mark = line.startsWith(markStart) ? parsed(markSchema, line) : undefined;
  return mark !== undefined && mark.accepted >= before.accepted ? mark : before;
}

/** The event of a line; undefined for a mark, and for a line that was cut because its process died. */
export function wholeEventIn(line: string): IngestLine | undefined {
  return eventStart.test(line) ? parsed(ingestLineSchema, line) : undefined;
}

function parsed<T>(schema: z.ZodType<T>, line: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(line)).data;
  } catch {
    // No JSON, or nested deeper than the schema can follow.
    return undefined;
  }
}
