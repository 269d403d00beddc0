import { z } from 'zod';

/** Limits of `POST /api/v1/runs/:runId/deltas`. Texts and offsets count UTF-16 units. */
export const deltaLimits = {
  perRequest: 50,
  textLength: 16_384,
  itemIdLength: 200,
  /** Where the live text of an item ends, before what is redacted is replaced; the rest of a longer one comes with its event. */
  itemLength: 65_536,
} as const;

/**
 * Body of `POST /api/v1/runs/:runId/deltas`: text that the agent is writing now (docs/adr/0021). `text` takes the place of all that the item had from
 * `offset` on. `after`: how many events of this attempt its runner had made before (the producer's sequence); when the log has more of them, what
 * the text belongs to may be over, and it is dropped.
 */
export const sendDeltasSchema = z
  .strictObject({
    after: z.number().int().min(0).max(Number.MAX_SAFE_INTEGER),
    deltas: z
      .array(
        z.strictObject({
          itemId: z.string().min(1).max(deltaLimits.itemIdLength),
          offset: z
            .number()
            .int()
            .min(0)
            .max(2 * deltaLimits.itemLength),
          text: z.string().max(deltaLimits.textLength),
        }),
      )
      .min(1)
      .max(deltaLimits.perRequest),
  })
  .meta({ id: 'SendDeltas', description: 'Pieces of text that an agent is writing now; best effort.' });
export type SendDeltas = z.infer<typeof sendDeltasSchema>;

/** `watched: false`: nobody reads, nothing was kept, and nothing needs to be sent until somebody does. */
export const deltasAnswerSchema = z
  .object({ accepted: z.number().int(), watched: z.boolean() })
  .meta({ id: 'DeltasAnswer' });
export type DeltasAnswer = z.infer<typeof deltasAnswerSchema>;
