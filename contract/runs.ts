import { z } from 'zod';
import { executionPolicyInputSchema, executionPolicySchema } from './execution-policy.js';
import { runFailureKindSchema } from './failure-kinds.js';
import { sessionIdInputSchema } from './ids.js';
import { jsonObjectSchema } from './json.js';
import { optional, optionalOr } from './optional.js';
import { backendProfileSchema, runStatusSchema, terminalStatusSchema } from './states.js';
import {
  diagnosisSchema,
  livenessSchema,
  steerDeliveryViewSchema,
  terminalClassificationSchema,
} from './supervisor.js';
import { textSchema } from './text.js';

export const labelsSchema = z.record(z.string().max(63), z.string().max(256));

/** The workspace of a turn. `path`: local mode only, a directory that is copied into the session's workspace at its first turn. */
export const workspaceSchema = z
  .strictObject({
    repository: textSchema.optional(),
    ref: textSchema.optional(),
    path: textSchema.optional(),
  })
  .meta({
    id: 'Workspace',
    description:
      'The workspace of a turn. `path`: local mode only, a directory that is copied at the first turn of the session.',
  });
export type Workspace = z.infer<typeof workspaceSchema>;

const quiet = '\\s\\u0000-\\u001f\\u007f-\\u009f';
const host = '(?:[A-Za-z0-9][A-Za-z0-9.-]*|\\[[0-9A-Fa-f:.]+\\])(?::[0-9]{1,5})?';
/**
 * What git fetches without running a program of the caller's choice (`transport::address` would), without parameters and without who fetches it: a
 * credential would be stored, shown and logged. The lone user of ssh is none.
 */
const repositoryForms = [
  `/[^${quiet}]*`,
  `(?:https?|git)://${host}(?:/[^${quiet}?#]*)?`,
  `ssh://(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?${host}(?:/[^${quiet}?#]*)?`,
  `file:///[^${quiet}?#]*`,
  `(?!(?:[Hh][Tt]{2}[Pp][Ss]?|[Ss]{2}[Hh]|[Gg][Ii][Tt]|[Ff][Ii][Ll][Ee]|[Ff][Tt][Pp][Ss]?):)(?:[A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_][A-Za-z0-9_.-]*:(?!:|//)[^${quiet}?#]+`,
];
const repositorySchema = z
  .string()
  .max(2_000)
  .regex(
    new RegExp(`^(?:${repositoryForms.join('|')})$`),
    'expected an absolute path, host:path, or a URL of https, http, ssh, git or file without user, password, token, query or fragment; name a credential that the workspace may use instead',
  );

/** Git takes what begins with `-` for an option. */
const refSchema = z
  .string()
  .regex(
    new RegExp(`^(?!-)[^${quiet}]{1,255}$`),
    'expected the name of a branch or tag, at most 255 characters, without blanks and not beginning with -',
  );

/** A workspace that is asked for. */
export const workspaceInputSchema = z
  .strictObject({
    repository: optional(repositorySchema),
    ref: optional(refSchema),
    path: optional(textSchema),
  })
  .meta({
    id: 'WorkspaceInput',
    description:
      'The workspace that is asked for. `repository` holds no user, password or token. `path`: local mode only, a directory that is copied at the first turn of the session.',
  });

/** Whether it is on the machine of the launcher, as a folder that a `path` names. */
export function isLocalRepository(repository: string): boolean {
  return repository.startsWith('/') || repository.startsWith('file:');
}

export const sessionRefSchema = z.strictObject({
  sessionId: sessionIdInputSchema,
  conversationId: z.string().nullable().optional(),
  threadId: z.string().nullable().optional(),
  metadata: optional(jsonObjectSchema),
});

/** Body of `POST /api/v1/runs` (decisions.md, "Bodies"). On `send` all of it may be left out. */
export const createRunSchema = z
  .strictObject({
    tenantId: textSchema,
    projectId: textSchema,
    backendProfile: optionalOr(backendProfileSchema, 'codex'),
    providerId: optional(textSchema),
    sessionRef: optional(sessionRefSchema),
    workspace: optional(workspaceInputSchema),
    executionPolicy: optional(executionPolicyInputSchema),
    labels: optional(labelsSchema),
    metadata: optional(jsonObjectSchema),
  })
  .meta({ id: 'CreateRun' });
export type CreateRun = z.infer<typeof createRunSchema>;

/** `run` of a send: the same fields, none required. */
export const sendRunSchema = createRunSchema
  .extend({
    tenantId: optional(textSchema),
    projectId: optional(textSchema),
    backendProfile: optional(backendProfileSchema),
  })
  .meta({
    id: 'RunSettings',
    description:
      'Settings of the run that a message begins; what is left out keeps the value of the session.',
  });
export type SendRun = z.infer<typeof sendRunSchema>;

/** How a run gets its runner: a local process, a Kubernetes Job, or a runner that somebody else starts. */
export const launcherSchema = z.enum(['process', 'kubernetes', 'external']);
export type Launcher = z.infer<typeof launcherSchema>;

/** A run as the API answers it. Times are ISO 8601 UTC. */
export const runRecordSchema = z
  .object({
    id: z.string(),
    tenantId: z.string(),
    projectId: z.string(),
    sessionId: z.string(),
    sessionTurn: z.number().int().nullable(),
    sessionRef: z.object({
      sessionId: z.string(),
      conversationId: z.string().nullable(),
      threadId: z.string().nullable(),
      metadata: jsonObjectSchema,
    }),
    backendProfile: backendProfileSchema,
    providerId: z.string().nullable(),
    status: runStatusSchema,
    launcher: launcherSchema,
    executionPolicy: executionPolicySchema,
    workspace: workspaceSchema.nullable(),
    labels: labelsSchema,
    metadata: jsonObjectSchema,
    attempt: z.number().int(),
    epoch: z.number().int(),
    claimedBy: z.string().nullable(),
    leaseExpiresAt: z.string().nullable(),
    cancelRequestedAt: z.string().nullable(),
    cancelReason: z.string().nullable(),
    deadlineAt: z.string().nullable(),
    terminalStatus: terminalStatusSchema.nullable(),
    failureKind: runFailureKindSchema.nullable(),
    failureMessage: z.string().nullable(),
    threadId: z.string().nullable(),
    turnId: z.string().nullable(),
    createdAt: z.string(),
    startedAt: z.string().nullable(),
    finishedAt: z.string().nullable(),
    updatedAt: z.string(),
  })
  .meta({
    id: 'Run',
    description: 'One turn of a session, with all its attempts. Times are ISO 8601 in UTC.',
  });
export type RunRecord = z.infer<typeof runRecordSchema>;

/**
 * Body of the cancel routes. `deadlineMs`: the runner is deleted when its turn has not ended so long after the request (default 15 s). `waitMs`: how
 * long the answer waits for the end; it says what was observed by then.
 */
export const cancelSchema = z
  .strictObject({
    reason: optional(z.string().trim().max(2_000)),
    deadlineMs: optional(z.number().int().min(1_000).max(600_000)),
    waitMs: optionalOr(z.number().int().min(0).max(25_000), 0),
  })
  .meta({
    id: 'Cancel',
    description:
      '`deadlineMs`: so long after the request the runner is deleted, if the turn has not ended (default 15 s). `waitMs`: how long the answer waits for the end.',
  });

/** The steps of a cancel that the log of the run shows so far, in their order (decisions.md, Timeouts). */
export const cancelStepSchema = z.enum([
  'cancel-requested',
  'interrupt-sent',
  'interrupt-answered',
  'background-terminals-cleaned',
  'process-group-killed',
  'turn-cancelled',
  'runner-deleted',
]);
export type CancelStep = z.infer<typeof cancelStepSchema>;

/** What a cancel met and what was observed of it, beside the record of what was to be cancelled. */
export const cancelObservationSchema = z
  .object({
    /** False: it had ended already. */
    requested: z.boolean(),
    observed: z.array(cancelStepSchema),
    runStatus: runStatusSchema.nullable(),
  })
  .meta({
    id: 'CancelObservation',
    description: 'What a cancel met and what was observed of it by the time of the answer.',
  });
export type CancelObservation = z.infer<typeof cancelObservationSchema>;

/**
 * Result of a run (contract.md 7.1). `usage`: tokens of the whole turn as counted by the proxy (falling back to the agent's totals).
 * `late`: events that came too late for the log; the first 10,000 of a run are kept in quarantine.
 */
export const runResultSchema = z
  .object({
    runId: z.string(),
    commandId: z.string().nullable(),
    status: runStatusSchema,
    terminalStatus: terminalStatusSchema.nullable(),
    failureKind: runFailureKindSchema.nullable(),
    failureMessage: z.string().nullable(),
    lastSeq: z.number().int(),
    finalMessage: z.string().nullable(),
    diff: z.string().nullable(),
    usage: z
      .object({
        requests: z.number().int(),
        inputTokens: z.number().int(),
        cachedInputTokens: z.number().int(),
        outputTokens: z.number().int(),
        reasoningOutputTokens: z.number().int(),
        totalTokens: z.number().int(),
      })
      .nullable(),
    late: z.number().int(),
    liveness: livenessSchema,
    terminalClassification: terminalClassificationSchema,
    diagnosis: diagnosisSchema,
    /** Of the newest steer; null when nobody steered. */
    steerDelivery: steerDeliveryViewSchema.nullable(),
    valuesPrinted: z.literal(false),
  })
  .meta({ id: 'RunResult', description: 'How a run stands or ended, its last message, diff and tokens.' });
export type RunResult = z.infer<typeof runResultSchema>;
