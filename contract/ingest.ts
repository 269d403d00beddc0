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
 * Answer of ingest; also in `error.details` of a 409 gap. `lastAcceptedSeq` is the producer sequence accepted so far. With `?spilledEpoch=` (late events
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
} as const;
