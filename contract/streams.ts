import { z } from 'zod';
import { runEventSchema } from './events.js';

// Streams are server-sent events (decisions.md, "Stream frames"). A frame as it is seen by programs: its event name, `event` for the ordinary one that has
// none on the wire; its id, which only events have; its data, parsed.

/** Times that both ends agree on, in milliseconds. */
export const streamTimes = {
  /** The server says something at least this often. */
  keepaliveMs: 15_000,
  /** A client that hears nothing for so long takes the connection for dead. */
  silenceMs: 60_000,
} as const;

/** Where a reader of a run is: the seq of the last event it has seen, 0 before the first. */
export const runCursorSchema = z
  .string()
  .regex(/^(?:0|[1-9]\d{0,14})$/, 'expected the id of an event of this stream: a whole number, as 17')
  .transform(Number);

/** Where a reader of a session is: `<turn>.<seq>` of the last event it has seen; `0.0` before the first. */
export const sessionCursorSchema = z
  .string()
  .regex(
    /^(?:0|[1-9]\d{0,8})\.(?:0|[1-9]\d{0,14})$/,
    'expected the id of an event of this stream: <turn>.<seq>, as 2.17',
  )
  .transform((text) => {
    const [turn = '', seq = ''] = text.split('.');
    return { turn: Number(turn), seq: Number(seq) };
  });
/** Where a reader of a session is. */
export type SessionCursor = z.output<typeof sessionCursorSchema>;

/** Where a stream begins that is asked for without a cursor; default: with the first event. */
export const streamStartSchema = z.enum(['latest']);

/** The event of another run among many: of whom it is. */
export const feedEventSchema = runEventSchema
  .extend({
    tenantId: z.string(),
    projectId: z.string(),
    sessionId: z.string(),
  })
  .meta({ id: 'FeedEvent', description: 'An event in the feed of the installation, with whose it is.' });
export type FeedEvent = z.infer<typeof feedEventSchema>;

/** Why the server closes a connection that has not ended; the client reconnects at once. */
export const rotationReasons = ['age', 'shutdown', 'slow'] as const;
export type RotationReason = (typeof rotationReasons)[number];

const deltaSchema = z.object({
  itemId: z.string(),
  offset: z.number().int().nonnegative(),
  text: z.string(),
});
/** A piece of an item's text that is still being written: ephemeral, `offset` counts UTF-16 units from the start of the item. */
export type Delta = z.infer<typeof deltaSchema>;

/** All frames of a stream whose events are `event` and whose cursor, where it stands in data, is `cursor`. */
const framesOf = <Event extends z.ZodType, Cursor extends z.ZodType>(event: Event, cursor: Cursor) =>
  z.discriminatedUnion('frame', [
    z.object({ frame: z.literal('event'), id: z.string(), data: event }),
    z.object({ frame: z.literal('delta'), data: deltaSchema }),
    /** Once per connection: everything that was stored when the reader came has been sent. */
    z.object({ frame: z.literal('caught-up'), data: z.object({ seq: cursor }) }),
    /** Events `from` to `to` do not exist any more. In the feed: some between these two places; what is left there follows. */
    z.object({
      frame: z.literal('gap'),
      data: z.object({ from: cursor, to: cursor, reason: z.literal('retention') }),
    }),
    z.object({ frame: z.literal('keepalive'), data: z.object({}) }),
    z.object({ frame: z.literal('rotated'), data: z.object({ reason: z.enum(rotationReasons) }) }),
    /** The only authoritative end: never reconnect. */
    z.object({
      frame: z.literal('stream-end'),
      data: z.object({
        /** Of a run its status; `archived` or `deleted` of a session, `deleted` also of a run. */
        status: z.string(),
        terminalStatus: z.string().nullable(),
        lastSeq: cursor,
      }),
    }),
    z.object({ frame: z.literal('error'), data: z.object({ failureKind: z.string(), message: z.string() }) }),
  ]);

/** Frames of `GET /api/v1/runs/:runId/stream`; the id of an event is its seq. */
export const runStreamFrameSchema = framesOf(runEventSchema, z.number().int().nonnegative()).meta({
  id: 'RunStreamFrame',
});
export type RunStreamFrame = z.infer<typeof runStreamFrameSchema>;

/** Frames of `GET /api/v1/sessions/:sessionId/stream`; the id of an event is `<turn>.<seq>`. */
export const sessionStreamFrameSchema = framesOf(runEventSchema, z.string()).meta({
  id: 'SessionStreamFrame',
});
export type SessionStreamFrame = z.infer<typeof sessionStreamFrameSchema>;

/** Frames of `GET /api/v1/feed`; ids are opaque. It has no `stream-end` and no `delta`. */
export const feedFrameSchema = framesOf(feedEventSchema, z.string()).meta({ id: 'FeedFrame' });
export type FeedFrame = z.infer<typeof feedFrameSchema>;
