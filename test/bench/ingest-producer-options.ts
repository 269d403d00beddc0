import { z } from 'zod';

/** What the program of the producers is given: one side, for some time. */
export const producerOptionsSchema = z.object({
  side: z.enum(['api', 'pg']),
  url: z.string(),
  /** The side `pg` prepares its INSERT once for each connection. */
  prepared: z.boolean(),
  /** Events of one request, or of one INSERT. */
  batch: z.number().int().positive(),
  durationMs: z.number().positive(),
  /** A producer each. `token` is for the side `api`. */
  runs: z.array(z.object({ runId: z.string(), token: z.string() })),
  /** What the redactor of a runner knows. */
  secrets: z.array(z.string()),
});
export type ProducerOptions = z.infer<typeof producerOptionsSchema>;

export const producerResultSchema = z.object({
  events: z.number(),
  elapsedMs: z.number(),
  cpuMs: z.number(),
});
export type ProducerResult = z.infer<typeof producerResultSchema>;
