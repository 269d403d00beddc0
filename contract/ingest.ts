import { z } from 'zod';
import { producedEventSchema } from './events.js';

/**
 * One line of the NDJSON body of `POST /api/v1/runs/:runId/ingest` (decisions.md "ingest", requirements.md A.1.a): the
 * producer's own sequence counts from 1 within an epoch without gaps; what is at or below the accepted one is a duplicate.
 */
export const ingestLineSchema = z
  .strictObject({
    seq: z.number().int().positive(),
    event: producedEventSchema,
  })
  .meta({
    id: 'IngestLine',
    description:
      'One line of an ingest body. `seq` is the own count of the producer: from 1 within an epoch, without gaps.',
  });
export type IngestLine = z.infer<typeof ingestLineSchema>;

/**
 * The completion line: the producer of this epoch sends nothing more after its event `finalSeq` (0: it sent none). It is the last line of its request;
 * anything but blank lines behind it is 400, and then it does not count. A repeat with the same number answers the same.
 */
export const completionLineSchema = z
  .strictObject({ complete: z.strictObject({ finalSeq: z.number().int().nonnegative() }) })
  .meta({
    id: 'CompletionLine',
    description:
      'Last line of the last ingest request of an epoch: its producer sends nothing after `finalSeq`, which must be the last accepted sequence.',
  });
export type CompletionLine = z.infer<typeof completionLineSchema>;

/**
 * `details.reason` of a 409 `conflict` of ingest. `gap`: go on at `lastAcceptedSeq` + 1. `completion-mismatch`: `finalSeq` is not the last accepted, send
 * what is missing. `completed` (the producer of this epoch has completed its stream) and `ended` (the run has ended): nothing more is taken, what came is
 * kept in quarantine. `fenced` is a failure kind of its own.
 */
export const ingestConflicts = ['gap', 'completion-mismatch', 'completed', 'ended'] as const;
export const ingestConflictSchema = z.enum(ingestConflicts);
export type IngestConflict = z.infer<typeof ingestConflictSchema>;

/**
 * Answer of ingest; also in `error.details` of its 400, 408, 409 and 413, a 409 with its {@link ingestConflicts} as `reason`. `lastAcceptedSeq` is the producer sequence accepted so far. With `?spilledEpoch=` (late events
 * of an earlier attempt, which go to quarantine) `accepted` are those that are new there, and `lastAcceptedSeq` is the highest of the batch.
 */
export const ingestAnswerSchema = z
  .object({
    accepted: z.number().int(),
    duplicate: z.number().int(),
    lastAcceptedSeq: z.number().int(),
  })
  .meta({ id: 'IngestAnswer' });
export type IngestAnswer = z.infer<typeof ingestAnswerSchema>;

/** Server limits of one ingest request (requirements.md A.1.a 5); the sender's limits are lower. */
export const ingestLimits = {
  lineBytes: 1_000_000,
  requestBytes: 5_000_000,
  eventsPerRequest: 1_000,
  /** Within this time, in milliseconds, the body must have arrived, or it is 408; what came whole before is stored. Below the server's minute. */
  bodyMs: 30_000,
} as const;
