import { z } from 'zod';

/** What a long suite was asked to do; the program passes it on in one variable, because its tests run in processes of vitest. */
export const longSuiteSchema = z.object({
  all: z.boolean(),
  only: z.string().optional(),
  sample: z.number().int().positive(),
  seed: z.number().int().nonnegative(),
});
export type LongSuite = z.infer<typeof longSuiteSchema>;

export const longSuiteVariable = 'AGENTRUN_TEST_LONG_SUITE';

/** What this run was asked to do; a small sample when vitest was started by hand. */
export function longSuite(): LongSuite {
  const text = process.env[longSuiteVariable];
  return text === undefined ? { all: false, sample: 5, seed: 1 } : longSuiteSchema.parse(JSON.parse(text));
}
