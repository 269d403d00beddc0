import { z } from 'zod';
import { jsonObjectSchema } from './json.js';

/** The success envelope around every answer of the API (contract.md 1.3). */
export const okEnvelopeSchema = <T extends z.ZodType>(data: T) =>
  z.object({ ok: z.literal(true), data, traceId: z.string() });

/** The failure envelope (contract.md 1.3). `error.details` names the fields of a `schema-invalid`. */
export const errorEnvelopeSchema = z
  .object({
    ok: z.literal(false),
    failureKind: z.string(),
    message: z.string(),
    traceId: z.string(),
    error: z.object({ failureKind: z.string(), message: z.string(), details: jsonObjectSchema.optional() }),
  })
  .meta({
    id: 'ErrorEnvelope',
    description:
      'Every refusal. `failureKind` is a word of the registry; `error.details` names the fields of a `schema-invalid`.',
  });
export type ErrorEnvelope = z.infer<typeof errorEnvelopeSchema>;
