import { z } from 'zod';
import { infrastructureFailureKinds, runFailureKindSchema } from './failure-kinds.js';
import { agentRequestStateSchema, steerDeliverySchema, terminalStatusSchema } from './states.js';

// What a reader is told about a run beyond its record (contract.md 7). Times are ISO 8601 UTC, durations milliseconds. None of it is stored: the
// rules are pure functions in domain/ of the run's columns and the time.

const valuesPrinted = z.literal(false);

/** Phases of a run (decisions.md, Liveness phase). `unavailable`: it could not be read. */
export const livenessPhaseSchema = z.enum([
  'queued',
  'starting',
  'claimed',
  'running',
  'finishing',
  'waiting',
  'parked',
  'quiet',
  'lease-expired',
  'retrying',
  'terminal',
  'unavailable',
]);
export type LivenessPhase = z.infer<typeof livenessPhaseSchema>;

/** Lease of the current attempt (contract.md 7.4). `leaseExpired` is never true for an attempt that has ended. */
export const leaseViewSchema = z
  .object({
    claimedBy: z.string().nullable(),
    leaseExpiresAt: z.string().nullable(),
    leaseExpired: z.boolean(),
    leaseRemainingMs: z.number().int().nullable(),
    valuesPrinted,
  })
  .meta({ id: 'Lease' });
export type LeaseView = z.infer<typeof leaseViewSchema>;

export const timeoutKindSchema = z.enum(['hard', 'idle', 'first-output', 'claim']);
export type TimeoutKind = z.infer<typeof timeoutKindSchema>;

/**
 * The limit that ends the attempt next (contract.md 7.4). `elapsedMs` and `remainingMs` belong to it, without the time in which it stood still;
 * `commandElapsedMs` and `runElapsedMs` are plain ages. `source`: where the limit comes from.
 */
export const timeoutBudgetSchema = z
  .object({
    state: z.enum(['ok', 'warning', 'exceeded', 'paused', 'not-applicable']),
    timeoutKind: timeoutKindSchema.nullable(),
    timeoutMs: z.number().int().nullable(),
    elapsedMs: z.number().int().nullable(),
    idleElapsedMs: z.number().int().nullable(),
    remainingMs: z.number().int().nullable(),
    startedAt: z.string().nullable(),
    idleStartedAt: z.string().nullable(),
    lastActivityAt: z.string().nullable(),
    lastActivitySeq: z.number().int().nullable(),
    commandElapsedMs: z.number().int().nullable(),
    runElapsedMs: z.number().int().nullable(),
    source: z.enum(['execution-policy', 'deadline']).nullable(),
    valuesPrinted,
  })
  .meta({ id: 'TimeoutBudget', description: 'The limit that ends the attempt next.' });
export type TimeoutBudget = z.infer<typeof timeoutBudgetSchema>;

/** The last event that was progress of the agent (contract.md 7.3). */
export const activitySchema = z
  .object({
    sourceSeq: z.number().int(),
    eventId: z.string().nullable(),
    activityKind: z.string(),
    type: z.string(),
    status: z.string().nullable(),
    toolName: z.string().nullable(),
    itemId: z.string().nullable(),
    ageMs: z.number().int().nullable(),
    summary: z.string().max(180).nullable(),
    valuesPrinted,
  })
  .meta({ id: 'Activity', description: 'The last event that was progress of the agent.' });
export type Activity = z.infer<typeof activitySchema>;

/** How a run ended, in one word (decisions.md, terminalClassification): one of these, or the failure kind of the runner, its pod or the storage. */
export const terminalCategories = [
  'not-terminal',
  'completed',
  'cancelled-by-request',
  'cancelled-unattributed',
  'hard-timeout',
  'idle-timeout',
  'budget-exceeded',
  'blocked',
  'provider-failure',
  'provider-retry-interrupted',
  'transport-disconnect',
  'failed-known',
  'unknown',
  ...infrastructureFailureKinds,
] as const;
export const terminalCategorySchema = z.enum(terminalCategories);
export type TerminalCategory = z.infer<typeof terminalCategorySchema>;

/** Contract.md 7.5. `providerInterruption`: whether the model provider ended or holds up the turn. */
export const terminalClassificationSchema = z
  .object({
    category: terminalCategorySchema,
    confidence: z.enum(['high', 'medium', 'low']),
    providerEvidence: z.enum(['proxy', 'agent', 'both', 'none']).nullable(),
    providerInterruption: z.enum(['yes', 'no', 'unknown']),
    providerInterruptionKnown: z.boolean(),
    providerInterruptionReason: z.string().max(240).nullable(),
    retryInterruptionObserved: z.boolean(),
    retryInterruptionSeq: z.number().int().nullable(),
    retryInterruptionKind: z.string().nullable(),
    hardTimeout: z.boolean(),
    idleTimeout: z.boolean(),
    timeoutKind: timeoutKindSchema.nullable(),
    transportDisconnectObserved: z.boolean(),
    transportDisconnectSeq: z.number().int().nullable(),
    reason: z.string().max(240),
    valuesPrinted,
  })
  .meta({ id: 'TerminalClassification', description: 'How a run ended, in one word and with reasons.' });
export type TerminalClassification = z.infer<typeof terminalClassificationSchema>;

/** What is going on or went wrong, for a tired operator: one sentence, since when, the likely cause, and what it is concluded from. */
export const diagnosisSchema = z
  .object({
    summary: z.string(),
    since: z.string().nullable(),
    likelyCause: z.string().nullable(),
    evidence: z.array(z.string()),
  })
  .meta({ id: 'Diagnosis', description: 'What is going on or went wrong, for a person.' });
export type Diagnosis = z.infer<typeof diagnosisSchema>;

/** A symbolic next step for an operator (contract.md 7.6); at most five. */
export const recoveryActionSchema = z
  .object({
    action: z.string(),
    operation: z.string(),
    resourceKind: z.string(),
    resourceName: z.string(),
    reason: z.string(),
    inputKind: z.string().nullable(),
    runId: z.string().nullable(),
    commandId: z.string().nullable(),
    runnerJobId: z.string().nullable(),
    sessionId: z.string().nullable(),
    reasonHint: z.string().max(220).nullable(),
    failureMessage: z.string().max(220).nullable(),
    reasonRequired: z.boolean(),
    afterSeq: z.number().int().nullable(),
    limit: z.number().int().nullable(),
    valuesPrinted,
  })
  .meta({ id: 'RecoveryAction', description: 'A next step for an operator.' });
export type RecoveryAction = z.infer<typeof recoveryActionSchema>;

/** Where the run's newest steer is (contract.md 7.8). `next-turn`: it became the command `nextCommandId`, once that has begun. */
export const steerDeliveryViewSchema = z
  .object({
    commandId: z.string(),
    delivery: steerDeliverySchema,
    since: z.string().nullable(),
    nextCommandId: z.string().nullable(),
    reason: z.string(),
    valuesPrinted,
  })
  .meta({ id: 'SteerDelivery', description: 'Where the newest steer of a run is.' });
export type SteerDeliveryView = z.infer<typeof steerDeliveryViewSchema>;

/** The request of the agent that a run waits for, as far as a list of runs shows it. */
export const pendingRequestSchema = z.object({
  requestId: z.string(),
  kind: z.string(),
  summary: z.string(),
  state: agentRequestStateSchema.extract(['pending']),
  askedAt: z.string(),
  expiresAt: z.string().nullable(),
});

/** Contract.md 7.3. `pendingRequest` (ours): the oldest question that waits for a person. */
export const livenessSchema = z
  .object({
    phase: livenessPhaseSchema,
    active: z.boolean(),
    lastSeq: z.number().int(),
    lastEventAt: z.string().nullable(),
    lastEventAgeMs: z.number().int().nullable(),
    lastActivity: activitySchema.nullable(),
    timeoutBudget: timeoutBudgetSchema,
    lease: leaseViewSchema,
    terminalClassification: terminalClassificationSchema,
    pendingRequest: pendingRequestSchema.nullable(),
    recoveryActions: z.array(recoveryActionSchema).max(5),
    valuesPrinted,
  })
  .meta({ id: 'Liveness', description: 'What a run is doing, since when, and what will end it.' });
export type Liveness = z.infer<typeof livenessSchema>;

/** Instead of a liveness that cannot be read (contract.md 3.4, step 6). */
export const unavailableLivenessSchema = z
  .object({
    phase: z.literal('unavailable'),
    active: z.boolean(),
    failureKind: z.literal('infra-failed'),
    message: z.string(),
    valuesPrinted,
  })
  .meta({ id: 'UnavailableLiveness' });

/** What both supervisor objects share (contract.md 7.2). */
const supervisedRun = {
  runId: z.string(),
  commandId: z.string().nullable(),
  status: z.string(),
  terminalStatus: terminalStatusSchema.nullable(),
  failureKind: runFailureKindSchema.nullable(),
  terminalClassification: terminalClassificationSchema,
  phase: livenessPhaseSchema,
  lastSeq: z.number().int(),
  lastEventAgeMs: z.number().int().nullable(),
  lastActivity: activitySchema.nullable(),
  timeoutBudget: timeoutBudgetSchema,
  leaseRemainingMs: z.number().int().nullable(),
  leaseExpired: z.boolean(),
  recoveryActions: z.array(recoveryActionSchema).max(5),
  diagnosis: diagnosisSchema,
  valuesPrinted,
};

/** The supervisor object of `GET /api/v1/sessions/:sessionId` (contract.md 7.2, session variant). `active` is the session's. */
export const sessionSupervisorSchema = z
  .object({
    ...supervisedRun,
    sessionId: z.string(),
    executionState: z.string(),
    attentionState: z.string(),
    active: z.boolean(),
    activeRunId: z.string().nullable(),
    activeCommandId: z.string().nullable(),
    lastRunId: z.string().nullable(),
    lastCommandId: z.string().nullable(),
    liveness: livenessSchema,
    steerDelivery: steerDeliveryViewSchema.optional(),
  })
  .meta({ id: 'SessionSupervisor' });
export type SessionSupervisor = z.infer<typeof sessionSupervisorSchema>;

/** The active session of a queue task (contract.md 4.1). */
export const activeSessionSchema = z.object({
  sessionId: z.string(),
  sessionPath: z.string(),
  executionState: z.string(),
  attentionState: z.string(),
  activeRunId: z.string().nullable(),
  activeCommandId: z.string().nullable(),
  lastRunId: z.string().nullable(),
  lastCommandId: z.string().nullable(),
  terminalStatus: z.string().nullable(),
  failureKind: z.string().nullable(),
  lastActivityAt: z.string().nullable(),
  updatedAt: z.string(),
  active: z.literal(true),
  valuesPrinted,
});
export type ActiveSession = z.infer<typeof activeSessionSchema>;

/** The supervisor object of a queue task (contract.md 7.2, queue variant). `active` is the run's. */
export const queueSupervisorSchema = z.object({
  ...supervisedRun,
  source: z.enum(['active-session', 'latest-attempt']),
  attemptRunId: z.string().nullable(),
  attemptCommandId: z.string().nullable(),
  activeSession: activeSessionSchema.nullable(),
  executionState: z.string().nullable(),
  activeRunId: z.string().nullable(),
  activeCommandId: z.string().nullable(),
  active: z.boolean(),
  lastEventAt: z.string().nullable(),
  lease: leaseViewSchema,
});
export type QueueSupervisor = z.infer<typeof queueSupervisorSchema>;
