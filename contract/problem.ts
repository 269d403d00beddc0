import { z } from 'zod';
import { jsonObjectSchema } from './json.js';

export const problemMediaType = 'application/problem+json';

/** Where the registry of failure kinds is described; each kind has an anchor of its name. Served by the API under its public address too. */
export const errorDocsPath = '/docs/errors.md';

/**
 * A failure as RFC 9457 has it, for callers that prefer `application/problem+json`. It is made from the same error as the envelope:
 * `failureKind`, `traceId` and `details` are the envelope's, `detail` is its message. `title` is the same for all failures of a kind.
 */
export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    detail: z.string(),
    failureKind: z.string(),
    traceId: z.string(),
    details: jsonObjectSchema.optional(),
  })
  .meta({
    id: 'Problem',
    description: 'A refusal as RFC 9457 has it. `type` leads to the description of the kind.',
  });
export type Problem = z.infer<typeof problemSchema>;
