import { z } from 'zod';
import { optional } from './optional.js';

const milliseconds = (minimum: number, maximum: number) => z.number().int().min(minimum).max(maximum);

/** When the agent asks a person before it acts. */
export const approvalPolicySchema = z.enum(['never', 'on-request', 'untrusted']);
export type ApprovalPolicy = z.infer<typeof approvalPolicySchema>;

const limits = {
  claimTimeoutMs: milliseconds(1_000, 3_600_000),
  leaseMs: milliseconds(1_000, 600_000),
  firstOutputTimeoutMs: milliseconds(1_000, 86_400_000),
  idleTimeoutMs: milliseconds(0, 86_400_000),
  hardTimeoutMs: milliseconds(1_000, 2_592_000_000),
  partitionGraceMs: milliseconds(1_000, 86_400_000),
  maxAttempts: z.number().int().min(1).max(20),
  retryBackoffMs: milliseconds(1, 60_000),
  providerParkMs: milliseconds(1, 3_600_000),
  approvalPolicy: approvalPolicySchema,
  approvalTimeoutMs: milliseconds(0, 2_592_000_000),
  parkAfterMs: milliseconds(1_000, 86_400_000),
};

/**
 * Limits of a turn (decisions.md, "Timeouts of a turn"), all in milliseconds. `idleTimeoutMs: 0` switches the idle
 * limit off. A runner heartbeats every third of `leaseMs`.
 *
 * `approvalPolicy` says when the agent asks a person: `never` (it may do everything in its container), `on-request` (it works in the agent's own
 * sandbox and asks to leave it), `untrusted` (it asks before each command that is not known to be harmless). A request that nobody answers within
 * `approvalTimeoutMs` (0: no limit) is answered `timed-out`; after `parkAfterMs` of waiting the runner is released and the turn parked.
 * `retryBackoffMs` is the first delay of a retry that is not immediate, `providerParkMs` the first wait for a provider's limit without a reset time;
 * both double.
 */
export const executionPolicySchema = z
  .strictObject({
    claimTimeoutMs: limits.claimTimeoutMs.default(300_000),
    leaseMs: limits.leaseMs.default(60_000),
    firstOutputTimeoutMs: limits.firstOutputTimeoutMs.default(120_000),
    idleTimeoutMs: limits.idleTimeoutMs.default(600_000),
    hardTimeoutMs: limits.hardTimeoutMs.default(7_200_000),
    partitionGraceMs: limits.partitionGraceMs.default(900_000),
    maxAttempts: limits.maxAttempts.default(3),
    retryBackoffMs: limits.retryBackoffMs.default(5_000),
    providerParkMs: limits.providerParkMs.default(60_000),
    approvalPolicy: limits.approvalPolicy.default('never'),
    approvalTimeoutMs: limits.approvalTimeoutMs.default(86_400_000),
    parkAfterMs: limits.parkAfterMs.default(1_800_000),
  })
  .meta({
    id: 'ExecutionPolicy',
    description: 'Limits of a turn in milliseconds, attempts, and when the agent asks a person.',
  });
export type ExecutionPolicy = z.infer<typeof executionPolicySchema>;

/** What a caller may say: what is left out stays out, so that the session's value or the default holds (zod fills in defaults also where a field is optional). */
export const executionPolicyInputSchema = z
  .strictObject({
    claimTimeoutMs: optional(limits.claimTimeoutMs),
    leaseMs: optional(limits.leaseMs),
    firstOutputTimeoutMs: optional(limits.firstOutputTimeoutMs),
    idleTimeoutMs: optional(limits.idleTimeoutMs),
    hardTimeoutMs: optional(limits.hardTimeoutMs),
    partitionGraceMs: optional(limits.partitionGraceMs),
    maxAttempts: optional(limits.maxAttempts),
    retryBackoffMs: optional(limits.retryBackoffMs),
    providerParkMs: optional(limits.providerParkMs),
    approvalPolicy: optional(limits.approvalPolicy),
    approvalTimeoutMs: optional(limits.approvalTimeoutMs),
    parkAfterMs: optional(limits.parkAfterMs),
  })
  .meta({
    id: 'ExecutionPolicyInput',
    description:
      'Limits of a turn; what is left out keeps the value of the session or the default. `idleTimeoutMs: 0` switches the idle limit off.',
  });
