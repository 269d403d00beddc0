import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import { AgentRunError } from '../../contract/errors.js';
import type { streamQuery } from '../../contract/routes/streams.js';
import { parsePart } from '../validation.js';

/** Where a reader says that it is: `start` when it names no place. */
export type StreamStart<Cursor> = { readonly cursor: Cursor } | { readonly start: 'first' | 'latest' };

/**
 * Where a stream begins: the `Last-Event-ID` header, else `?after=`, else `?start=`. What comes later in this order is not looked at.
 *
 * @throws AgentRunError `schema-invalid` naming the field of a malformed cursor.
 */
export function streamStart<Schema extends z.ZodType>(
  schema: Schema,
  request: IncomingMessage,
  { after, start }: z.output<typeof streamQuery>,
): StreamStart<z.output<Schema>> {
  const header = (request.headersDistinct['last-event-id'] ?? []).join(', ');
  // A browser that has seen no event sends none or an empty one.
  if (header !== '') return { cursor: parsePart(schema, header, 'Last-Event-ID') };
  if (after !== undefined) return { cursor: parsePart(schema, after, 'query.after') };
  return { start: start ?? 'first' };
}

/** @param last the id of the last event, where a person can read it. */
export const cursorAhead = (last?: string | number) =>
  new AgentRunError(
    'cursor-ahead',
    `the cursor is beyond the last event of this stream${last === undefined ? '' : ` (${last})`}: it is of another stream or another installation, or mistyped; without a cursor the stream begins with its first event`,
  );
