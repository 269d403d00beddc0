import { z } from 'zod';

/** What the program of the writers is given. */
export const fanoutWriterOptionsSchema = z.object({
  url: z.string(),
  /** A writer each, with the producer sequence it begins with. */
  runs: z.array(z.object({ runId: z.string(), token: z.string(), firstSeq: z.number().int().positive() })),
  /** Of each run. */
  eventsPerSecond: z.number().positive(),
  durationMs: z.number().positive(),
});
export type FanoutWriterOptions = z.infer<typeof fanoutWriterOptionsSchema>;

export const fanoutWriterResultSchema = z.object({
  events: z.number(),
  requests: z.number(),
  elapsedMs: z.number(),
  cpuMs: z.number(),
});

/** What the program of the readers is given: one connection each. */
export const fanoutReaderOptionsSchema = z.object({
  url: z.string(),
  readers: z.array(z.object({ runId: z.string(), token: z.string() })),
});
export type FanoutReaderOptions = z.infer<typeof fanoutReaderOptionsSchema>;

/** A line to the readers, when the writers have ended: the last seq of each run. */
export const fanoutEndSchema = z.object({ lastSeqs: z.record(z.string(), z.number()), withinMs: z.number() });
export type FanoutEnd = z.infer<typeof fanoutEndSchema>;

/** Lines of the readers: all are connected and have caught up; then what they saw. */
export const fanoutReaderLineSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('ready') }),
  z.object({
    kind: z.literal('result'),
    /** Live ones: those that were stored after all readers were there. */
    deliveries: z.number(),
    lost: z.number(),
    doubled: z.number(),
    reconnects: z.number(),
    p50Ms: z.number(),
    p95Ms: z.number(),
    p99Ms: z.number(),
    maxMs: z.number(),
    cpuMs: z.number(),
  }),
]);
export type FanoutResult = Extract<z.infer<typeof fanoutReaderLineSchema>, { kind: 'result' }>;
