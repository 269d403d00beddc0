import { z } from 'zod';

const milliseconds = (minimum: number, maximum: number) => z.number().int().min(minimum).max(maximum);

/**
 * Limits of a turn (decisions.md, "Timeouts of a turn"), all in milliseconds. `idleTimeoutMs: 0` switches the idle
 * limit off. A runner heartbeats every third of `leaseMs`.
 */
export const executionPolicySchema = z.strictObject({
  claimTimeoutMs: milliseconds(1_000, 3_600_000).default(300_000),
  leaseMs: milliseconds(1_000, 600_000).default(60_000),
  firstOutputTimeoutMs: milliseconds(1_000, 86_400_000).default(120_000),
  idleTimeoutMs: milliseconds(0, 86_400_000).default(600_000),
  hardTimeoutMs: milliseconds(1_000, 2_592_000_000).default(7_200_000),
  partitionGraceMs: milliseconds(1_000, 86_400_000).default(900_000),
  maxAttempts: z.number().int().min(1).max(20).default(3),
});
export type ExecutionPolicy = z.infer<typeof executionPolicySchema>;
export const executionPolicyInputSchema = executionPolicySchema.partial();
