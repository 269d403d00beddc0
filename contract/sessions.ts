import { z } from 'zod';
import { agentRequestDecisionSchema } from './agent-requests.js';
import { commandPayloadSchema, commandRecordSchema, idempotencyKeySchema } from './commands.js';
import { executionPolicyInputSchema } from './execution-policy.js';
import { agentRequestIdSchema, commandIdSchema, sessionIdInputSchema } from './ids.js';
import { jsonObjectSchema } from './json.js';
import { optional, optionalOr } from './optional.js';
import {
  cancelSchema,
  labelsSchema,
  launcherSchema,
  runRecordSchema,
  sendRunSchema,
  workspaceInputSchema,
  workspaceSchema,
} from './runs.js';
import {
  backendProfileSchema,
  runnerJobPhaseSchema,
  sessionExecutionStateSchema,
  terminalStatusSchema,
} from './states.js';
import { storageBackendSchema, storageKindSchema } from './storage.js';
import { livenessSchema, sessionSupervisorSchema, unavailableLivenessSchema } from './supervisor.js';
import { promptSchema, subdirectorySchema, textSchema, timeSchema } from './text.js';

/** Body of `POST /api/v1/sessions` (contract.md 3.3). */
export const createSessionSchema = z
  .strictObject({
    sessionId: sessionIdInputSchema,
    tenantId: textSchema,
    projectId: textSchema,
    backendProfile: optionalOr(backendProfileSchema, 'codex'),
    conversationId: z.string().max(200).nullable().optional(),
    codexRolloutSubdir: optionalOr(subdirectorySchema, 'sessions'),
    expiresAt: optional(timeSchema),
    metadata: optional(jsonObjectSchema),
    labels: optional(labelsSchema),
    workspace: optional(workspaceInputSchema),
    executionPolicy: optional(executionPolicyInputSchema),
  })
  .meta({ id: 'CreateSession' });
export type CreateSession = z.infer<typeof createSessionSchema>;

/** A session as the API answers it (contract.md 3.1). */
export const sessionRecordSchema = z
  .object({
    sessionId: z.string(),
    tenantId: z.string(),
    projectId: z.string(),
    backendProfile: backendProfileSchema,
    conversationId: z.string().nullable(),
    threadId: z.string().nullable(),
    storageKind: storageKindSchema,
    storageBackend: storageBackendSchema.nullable(),
    storagePvcName: z.string().nullable(),
    storagePvcPhase: z.string().nullable(),
    codexRolloutSubdir: z.string(),
    workspace: workspaceSchema.nullable(),
    labels: labelsSchema,
    metadata: jsonObjectSchema,
    activeRunId: z.string().nullable(),
    activeCommandId: z.string().nullable(),
    lastRunId: z.string().nullable(),
    lastCommandId: z.string().nullable(),
    turns: z.number().int(),
    expiresAt: z.string(),
    /** Archived sessions take no messages and are left out of lists, until they are unarchived. */
    archivedAt: z.string().nullable(),
    createdAt: z.string(),
    updatedAt: z.string(),
  })
  .meta({ id: 'Session', description: 'A conversation with an agent, with its workspace and storage.' });
export type SessionRecord = z.infer<typeof sessionRecordSchema>;

const sessionPvcSchema = z.object({
  pvcName: z.string().nullable(),
  pvcPhase: z.string().nullable(),
  storageBackend: storageBackendSchema.nullable(),
  codexRolloutSubdir: z.string(),
  valuesPrinted: z.literal(false),
});

/** Answer of `POST /api/v1/sessions`: one of the outcomes of contract.md 3.3. */
export const ensuredSessionSchema = z
  .discriminatedUnion('action', [
    z.object({
      action: z.enum(['session-created', 'session-storage-recovered']),
      session: sessionRecordSchema,
      pvc: sessionPvcSchema,
      valuesPrinted: z.literal(false),
    }),
    z.object({
      action: z.literal('session-exists'),
      session: sessionRecordSchema,
      pvcName: z.string().nullable(),
      pvcPhase: z.string().nullable(),
      codexRolloutSubdir: z.string(),
      valuesPrinted: z.literal(false),
    }),
  ])
  .meta({ id: 'EnsuredSession' });
export type EnsuredSession = z.infer<typeof ensuredSessionSchema>;

/** Summary of a session (contract.md 3.1), as seen by one reader. */
export const sessionSummarySchema = sessionRecordSchema
  .extend({
    executionState: sessionExecutionStateSchema,
    attentionState: z.enum(['none', 'unread', 'active-session', 'needs-input', 'failed']),
    active: z.boolean(),
    sessionPath: z.string(),
    queuedTurns: z.number().int(),
    terminalStatus: z.string().nullable(),
    failureKind: z.string().nullable(),
    lastActivityAt: z.string().nullable(),
  })
  .meta({ id: 'SessionSummary', description: 'A session as one reader sees it.' });

export type SessionSummary = z.infer<typeof sessionSummarySchema>;

/** Answer of `GET /api/v1/sessions/:sessionId` (contract.md 3.4): `liveness` and `supervisor` once the session has a run. */
export const sessionViewSchema = sessionSummarySchema
  .extend({
    liveness: z.union([livenessSchema, unavailableLivenessSchema]).optional(),
    supervisor: sessionSupervisorSchema.optional(),
  })
  .meta({
    id: 'SessionView',
    description: 'A session as one reader sees it; `liveness` and `supervisor` once it has a run.',
  });
export type SessionView = z.infer<typeof sessionViewSchema>;

/** Answer of `POST /api/v1/sessions/:sessionId/read` (contract.md 3.7). */
export const readMarkSchema = z
  .object({
    sessionId: z.string(),
    readerId: z.string(),
    runId: z.string().nullable(),
    readAt: z.string(),
  })
  .meta({ id: 'ReadMark' });
export type ReadMark = z.infer<typeof readMarkSchema>;

export const whenBusySchema = z.enum(['steer', 'queue', 'interrupt', 'reject']);
export type WhenBusy = z.infer<typeof whenBusySchema>;

/**
 * Body of `POST /api/v1/sessions/:sessionId/send` (contract.md 3.6.1; ours: `whenBusy`, `answers`, `decision`, `questionAnswers`, `deadlineAt`).
 * A message answers a request of the agent only by naming it in `answers`; then `decision` says how (for a question the prompt or `questionAnswers`
 * is the answer). `deadlineAt`: when a turn that this message begins is ended. `payload` wins over `prompt`, `message`, `text`
 * in this order. Booleans are strict (oddity 13). `runnerJob` is accepted for old clients and holds no settings yet.
 */
export const sendSchema = z
  .strictObject({
    dryRun: optionalOr(z.boolean(), false),
    payload: optional(commandPayloadSchema),
    prompt: optional(promptSchema),
    message: optional(promptSchema),
    text: optional(promptSchema),
    commandIdempotencyKey: optional(idempotencyKeySchema),
    idempotencyKey: optional(idempotencyKeySchema),
    run: sendRunSchema.nullable().optional(),
    runBase: sendRunSchema.nullable().optional(),
    runnerJob: z.strictObject({}).nullable().optional(),
    createRunnerJob: optionalOr(z.boolean(), true),
    whenBusy: optionalOr(whenBusySchema, 'steer'),
    answers: optional(agentRequestIdSchema),
    decision: optional(agentRequestDecisionSchema),
    questionAnswers: optional(z.record(z.string().max(200), z.array(z.string().max(20_000)).max(20))),
    deadlineAt: optional(timeSchema),
  })
  .refine((body) => body.decision === undefined || body.answers !== undefined, {
    message: 'expected `answers` with the id of the request that this decides',
    path: ['answers'],
  })
  .refine((body) => body.questionAnswers === undefined || body.answers !== undefined, {
    message: 'expected `answers` with the id of the request that this answers',
    path: ['answers'],
  })
  .refine(
    (body) =>
      body.answers !== undefined ||
      body.payload !== undefined ||
      [body.prompt, body.message, body.text].some((text) => (text?.trim() ?? '') !== ''),
    { message: 'expected a payload object or a non-blank prompt, message or text', path: ['prompt'] },
  )
  .refine((body) => body.deadlineAt === undefined || body.answers === undefined, {
    message: 'expected none: an answer begins no turn',
    path: ['deadlineAt'],
  })
  .meta({
    id: 'Send',
    description:
      'A message to a session. `payload` wins over `prompt`, `message` and `text`, in this order. With `answers` and `decision` it answers a request of the agent. `deadlineAt`: when a turn that this message begins is ended.',
  });
export type SendBody = z.infer<typeof sendSchema>;

/** Symbolic next step for a client (contract.md 3.6.7, "Action descriptor rule"). */
export const actionDescriptorSchema = z
  .object({
    action: z.string(),
    operation: z.string(),
    resourceKind: z.string(),
    resourceName: z.string(),
    runId: z.string().nullable(),
    commandId: z.string().nullable(),
    sessionId: z.string().nullable(),
    afterSeq: z.number().int().nullable().optional(),
    limit: z.number().int().nullable().optional(),
    readerId: z.string().optional(),
    inputKind: z.string().optional(),
    reasonRequired: z.literal(true).optional(),
    valuesPrinted: z.literal(false),
  })
  .meta({ id: 'ActionDescriptor', description: 'A next step for a client, by operation and resource.' });
export type ActionDescriptor = z.infer<typeof actionDescriptorSchema>;

/** The turn that a send meets (contract.md 3.6.6 `activeBefore`). */
export const activeBeforeSchema = z
  .object({
    runId: z.string(),
    commandId: z.string().nullable(),
    commandState: z.string().nullable(),
    runStatus: z.string(),
    leaseExpiresAt: z.string().nullable(),
    leaseExpired: z.boolean(),
    reason: z.string(),
    valuesPrinted: z.literal(false),
  })
  .meta({ id: 'ActiveTurn', description: 'The turn that a message meets.' });
export type ActiveBefore = z.infer<typeof activeBeforeSchema>;

/** Which sessions a list shows: those of an execution state, or archived ones; without a state all that are not archived. */
export const sessionListStateSchema = z.enum([...sessionExecutionStateSchema.options, 'archived']);
export type SessionListState = z.infer<typeof sessionListStateSchema>;

/** Answer of `DELETE /api/v1/sessions/:sessionId`: storage, runs, events and the record are gone. */
export const deletedSessionSchema = z
  .object({
    action: z.literal('session-deleted'),
    sessionId: z.string(),
    valuesPrinted: z.literal(false),
  })
  .meta({ id: 'DeletedSession' });

/**
 * Body of `POST /api/v1/runs/:runId/runner-jobs` (contract.md 5.7). `commandId` must be the run's prompt. Further settings of the job come from the
 * configuration, not from callers.
 */
export const createRunnerJobSchema = z
  .strictObject({ commandId: optional(commandIdSchema) })
  .meta({ id: 'CreateRunnerJob' });

/** One row per attempt and the runner that serves it (decisions.md, Words). */
export const runnerJobRecordSchema = z
  .object({
    id: z.string(),
    runId: z.string(),
    commandId: z.string().nullable(),
    attempt: z.number().int(),
    epoch: z.number().int(),
    jobName: z.string(),
    namespace: z.string().nullable(),
    launcher: launcherSchema,
    reused: z.boolean(),
    phase: runnerJobPhaseSchema,
    createdAt: z.string(),
    updatedAt: z.string(),
  })
  .meta({ id: 'RunnerJob', description: 'One attempt of a run and the runner that serves it.' });
export type RunnerJobRecord = z.infer<typeof runnerJobRecordSchema>;

/** A runner job with how its attempt stands (contract.md 7.9): who claimed it, its outcome, and why it ended. */
export const runnerJobStatusSchema = runnerJobRecordSchema
  .extend({
    runnerId: z.string().nullable(),
    claimedAt: z.string().nullable(),
    outcome: terminalStatusSchema.nullable(),
    failureKind: z.string().nullable(),
    endedAt: z.string().nullable(),
    counted: z.boolean(),
    summary: z.string(),
    /** Ours. How its pod stands in the cluster's own words; null: it has none, or nothing is known of it. */
    pod: z
      .object({
        waitsFor: z.enum(['place', 'volume', 'image', 'start']).nullable(),
        message: z.string().nullable(),
        since: z.string().nullable(),
        nodeName: z.string().nullable(),
      })
      .nullable()
      .default(null),
    /** Ours. What was kept of its pod before it was deleted: states, events, ends of logs. Told of one job, not in lists. */
    diagnostics: jsonObjectSchema.nullable().default(null),
    valuesPrinted: z.literal(false),
  })
  .meta({ id: 'RunnerJobStatus', description: 'A runner job with how its attempt stands.' });
export type RunnerJobStatus = z.infer<typeof runnerJobStatusSchema>;

/**
 * Answer of a real send (contract.md 3.6.7). `decision`: the message steers the running turn, is a turn, or answers a request of the agent;
 * `queued` (ours): the turn waits behind the running one. `idempotencyKey` is the caller's or the one the API made.
 */
export const sendAnswerSchema = z
  .object({
    action: z.literal('session-send'),
    dryRun: z.literal(false),
    mutation: z.literal(true),
    sessionId: z.string(),
    decision: z.enum(['steer', 'turn', 'answer']),
    queued: z.boolean(),
    internalCommandType: z.string(),
    run: runRecordSchema,
    command: commandRecordSchema,
    runnerJob: runnerJobRecordSchema.nullable(),
    activeBefore: activeBeforeSchema.nullable(),
    pollActions: z.array(actionDescriptorSchema),
    idempotencyKey: z.string(),
    valuesPrinted: z.literal(false),
  })
  .meta({
    id: 'SendAnswer',
    description:
      '`decision`: the message steers the running turn, is a turn, or answers a request of the agent; `queued`: the turn waits behind the running one.',
  });
export type SendAnswer = z.infer<typeof sendAnswerSchema>;

/** Answer of a dry run (contract.md 3.6.6). */
export const sendPlanSchema = z
  .object({
    action: z.literal('session-send-plan'),
    dryRun: z.literal(true),
    mutation: z.literal(false),
    sessionId: z.string(),
    decision: z.enum(['steer', 'turn', 'answer']),
    queued: z.boolean(),
    internalCommandType: z.enum(['steer', 'turn', 'answer']),
    activeBefore: activeBeforeSchema.nullable(),
    request: z.object({
      method: z.literal('POST'),
      path: z.string(),
      commandType: z.enum(['steer', 'turn', 'answer']),
      payloadBytes: z.number().int(),
      runBytes: z.number().int().optional(),
      createRunnerJob: z.boolean().optional(),
      runnerJobBytes: z.number().int().optional(),
      valuesPrinted: z.literal(false),
    }),
    run: z
      .object({
        bodyBytes: z.number().int(),
        sessionRef: z.object({
          sessionId: z.string(),
          conversationId: z.string().nullable(),
          threadId: z.string().nullable(),
          metadataKeys: z.array(z.string()),
          valuesPrinted: z.literal(false),
        }),
        valuesPrinted: z.literal(false),
      })
      .optional(),
    next: z.object({ confirm: actionDescriptorSchema, note: z.string() }),
    valuesPrinted: z.literal(false),
  })
  .meta({ id: 'SendPlan', description: 'What a message would do, answered to `dryRun`.' });
export type SendPlan = z.infer<typeof sendPlanSchema>;

/** Bodies of `read` and `control` (contract.md 3.7, 3.8). `deadlineMs` and `waitMs` are those of a cancel. */
export const readBodySchema = z.strictObject({ readerId: optional(textSchema) }).meta({ id: 'ReadSession' });
export const controlBodySchema = z
  .strictObject({
    action: z.enum(['read', 'cancel']),
    readerId: optional(textSchema),
    reason: cancelSchema.shape.reason,
    deadlineMs: cancelSchema.shape.deadlineMs,
    waitMs: cancelSchema.shape.waitMs,
  })
  .meta({ id: 'ControlSession' });
