import { z } from 'zod';
import { agentRequestResolutionSchema } from './agent-requests.js';
import { commandRecordSchema } from './commands.js';
import { runnerJobIdSchema } from './ids.js';
import { jsonObjectSchema } from './json.js';
import { optional, optionalOr } from './optional.js';
import { launcherSchema, runRecordSchema, workspaceSchema } from './runs.js';
import { backendProfileSchema, runnerStateSchema } from './states.js';
import { textSchema } from './text.js';

const leaseMsSchema = optionalOr(z.number().int().min(1_000).max(600_000), 60_000);

/** What a driver can do (agents.md 2.3). */
export const driverCapabilitiesSchema = z
  .object({
    steer: z.boolean(),
    interrupt: z.boolean(),
    resume: z.enum(['none', 'replay', 'noReplay']),
    approvals: z.boolean(),
    usage: z.enum(['delta', 'total', 'none']),
    messageIds: z.boolean(),
    diff: z.boolean(),
  })
  .meta({
    id: 'ReportedCapabilities',
    outputId: 'DriverCapabilities',
    description: 'What the driver of a backend can do.',
  });
export type DriverCapabilities = z.infer<typeof driverCapabilitiesSchema>;

/**
 * Body of `POST /api/v1/runners/register`. `runnerId` is the runner instance: one start of a supervisor; a repeat of the same instance answers the same,
 * another instance is 409 `fenced` (decisions.md, Auth). With a launch token `jobId`, `backend`, `version` and `capabilities` are required. With an API
 * token (old clients, runs of launcher `external`) the contents are free: the answer names the runner id to claim with.
 */
export const registerSchema = z
  .looseObject({
    runnerId: optional(textSchema.max(200)),
    jobId: optional(runnerJobIdSchema),
    backend: optional(textSchema),
    version: optional(textSchema),
    capabilities: optional(driverCapabilitiesSchema),
  })
  .meta({ id: 'RegisterRunner' });
/** With an API token there is no job and no runner token: `claim` answers the run token. */
export const registerAnswerSchema = z
  .object({
    runnerId: z.string(),
    jobId: z.string().nullable(),
    runnerToken: z.string().nullable(),
    runnerTokenExpiresAt: z.string().nullable(),
  })
  .meta({ id: 'RegisteredRunner' });

/** Body of `POST /api/v1/runs/:runId/claim` (contract.md 5.8). What else an old runner says is not looked at, here and in what it says about its work. */
export const claimSchema = z.object({ runnerId: textSchema, leaseMs: leaseMsSchema }).meta({ id: 'Claim' });

/**
 * What a later attempt is told of the one before it: which it is, why the former ended, when, and whether the thread is to be compacted first.
 * `parked`: the turn was parked, not lost.
 */
export const resumeSchema = z.object({
  attempt: z.number().int(),
  maxAttempts: z.number().int(),
  formerFailureKind: z.string().nullable(),
  formerReason: z.string().nullable(),
  formerEndedAt: z.string().nullable(),
  parked: z.enum(['person', 'provider-limit']).nullable(),
  compact: z.boolean(),
});
export type Resume = z.infer<typeof resumeSchema>;

/** An answer that was given while no runner waited for it: used once, for the request with the same fingerprint. */
export const grantSchema = z.object({
  requestId: z.string(),
  fingerprint: z.string(),
  summary: z.string(),
  resolution: agentRequestResolutionSchema,
});
export type Grant = z.infer<typeof grantSchema>;

/**
 * A run handed to a runner: answered by `claim` and by `next`. `commands` are those of the run in order, the prompt (`turn`) first.
 * `threadId` is the agent's thread to resume, null for a fresh one. `heartbeatIntervalMs` is a third of the lease.
 */
export const assignmentSchema = z
  .object({
    run: runRecordSchema,
    epoch: z.number().int(),
    runToken: z.string(),
    runTokenExpiresAt: z.string(),
    leaseMs: z.number().int(),
    leaseExpiresAt: z.string(),
    heartbeatIntervalMs: z.number().int(),
    threadId: z.string().nullable(),
    commands: z.array(commandRecordSchema),
    resume: resumeSchema.nullable().default(null),
    grants: z.array(grantSchema).default([]),
    /** W3C trace context of the request that this run came from. */
    traceparent: z.string().nullable().default(null),
  })
  .meta({
    id: 'Assignment',
    description: 'A run handed to a runner, with the token that it works with until the next heartbeat.',
  });
export type Assignment = z.infer<typeof assignmentSchema>;
/** An assignment as the store knows it: without the token, which the API adds. */
export type AssignmentFacts = Omit<Assignment, 'runToken' | 'runTokenExpiresAt'>;

/** Answer of `GET /api/v1/runners/:runnerId/next` (decisions.md): an assignment, `close: true`, or neither when the wait was over. */
export const nextAnswerSchema = z
  .object({ assignment: assignmentSchema.nullable(), close: z.boolean() })
  .meta({ id: 'NextWork' });

/** A runner as the API lists it (decisions.md, Words): one Job or local process group, or one that somebody else started. */
export const runnerRecordSchema = z
  .object({
    jobName: z.string(),
    runnerId: z.string().nullable(),
    tenantId: z.string(),
    sessionId: z.string(),
    backendProfile: backendProfileSchema,
    launcher: launcherSchema,
    state: runnerStateSchema,
    runId: z.string().nullable(),
    epoch: z.number().int().nullable(),
    version: z.string().nullable(),
    leaseExpiresAt: z.string().nullable(),
    heartbeatAt: z.string().nullable(),
    idleUntil: z.string().nullable(),
    expiresAt: z.string(),
    createdAt: z.string(),
    updatedAt: z.string(),
    valuesPrinted: z.literal(false),
  })
  .meta({
    id: 'Runner',
    description: 'One runner: a Kubernetes Job, a local process group, or one that somebody else started.',
  });
export type RunnerRecord = z.infer<typeof runnerRecordSchema>;

/** Progress of the agent carried by each heartbeat. */
export const progressSchema = z.strictObject({
  phase: z.string().max(60),
  lastEventAt: z.iso.datetime().nullable(),
  notifications: z.number().int().nonnegative(),
  /** The model has said something in this attempt: what the first-output limit waits for. */
  outputSeen: optionalOr(z.boolean(), false),
});

export type Progress = z.infer<typeof progressSchema>;

/** Body of `PATCH /api/v1/runs/:runId/lease` (contract.md 5.8): the heartbeat. */
export const leaseSchema = z
  .object({
    runnerId: textSchema,
    leaseMs: leaseMsSchema,
    progress: optional(progressSchema),
  })
  .meta({ id: 'RenewLease' });

/** Answer of a heartbeat (architecture.md 5): lease, pending work, a fresh run token and the next interval. */
export const leaseAnswerSchema = z
  .object({
    runId: z.string(),
    epoch: z.number().int(),
    leaseExpiresAt: z.string(),
    leaseMs: z.number().int(),
    cancelRequested: z.boolean(),
    cancelReason: z.string().nullable(),
    cancelDeadlineMs: z.number().int().nullable().default(null),
    pendingCommands: z.number().int(),
    lastAcceptedSeq: z.number().int(),
    runToken: z.string(),
    runTokenExpiresAt: z.string(),
    nextHeartbeatMs: z.number().int(),
    /** Somebody reads the stream of the run: live text is wanted. */
    watched: z.boolean().default(false),
  })
  .meta({ id: 'RenewedLease' });

/** Body and answer of `PATCH /api/v1/runners/:runnerId/lease`: the heartbeat of an idle runner. */
export const runnerLeaseSchema = z.strictObject({ leaseMs: leaseMsSchema }).meta({ id: 'RenewRunner' });
export const runnerLeaseAnswerSchema = z
  .object({
    runnerId: z.string(),
    state: z.string(),
    leaseExpiresAt: z.string(),
    idleUntil: z.string().nullable(),
    runnerToken: z.string(),
    nextHeartbeatMs: z.number().int(),
  })
  .meta({ id: 'RenewedRunner' });

/**
 * Answer of `GET /api/v1/runs/:runId/commands?afterSeq=&waitMs=`. With `waitMs` it is a long poll that ends when a command with a higher seq
 * exists, a cancel is requested, or the run stops being open; for a runner that says `watched` also when that is not so any more.
 */
export const commandPageSchema = z
  .object({
    items: z.array(commandRecordSchema),
    cancelRequested: z.boolean(),
    cancelReason: z.string().nullable(),
    /** Milliseconds from the cancel request in which the runner is to end by itself, if the caller gave a deadline. */
    cancelDeadlineMs: z.number().int().nullable().default(null),
    open: z.boolean(),
    /** Somebody reads the stream of the run: live text is wanted. */
    watched: z.boolean().default(false),
  })
  .meta({ id: 'CommandPage' });

/** The answer to a runner's finish: the attempt's outcome was stored; `nextState` is what the runner does now. */
export const outcomeAnswerSchema = z
  .object({
    run: runRecordSchema,
    outcome: jsonObjectSchema,
    runnerState: z.enum(['idle', 'closing']),
    idleUntil: z.string().nullable(),
  })
  .meta({ id: 'FinishedAttempt' });

/**
 * What the launcher hands to a supervisor in a file of mode 0600 (local) or a mounted Secret (cluster). Paths are absolute. Holds the
 * launch token; the provider's key is in `providerKeyFile`.
 */
export const launchSpecSchema = z.object({
  jobId: z.string(),
  jobName: z.string(),
  runId: z.string(),
  epoch: z.number().int(),
  sessionId: z.string(),
  backendProfile: z.string(),
  managerUrl: z.string(),
  /** Which setting the URL came from, for a message when it is wrong. */
  managerUrlVariable: z.string().default('AGENTRUN_INTERNAL_MGR_URL'),
  launchToken: z.string(),
  agentHostSocket: z.string(),
  workspaceDirectory: z.string(),
  agentHomeDirectory: z.string(),
  supervisorDirectory: z.string(),
  provider: z.object({
    baseUrl: z.string(),
    model: z.string(),
    keyFile: z.string(),
  }),
  leaseMs: z.number().int(),
  /** W3C trace context of the first run, until the assignment tells it. */
  traceparent: z.string().nullable().default(null),
  /** Where the runner sends its spans; null: nowhere. */
  telemetry: z.object({ otlpEndpoint: z.string().nullable() }).default({ otlpEndpoint: null }),
  /** What the runner measures after each turn and tells the API: a volume that nobody else sees. Null: the worker looks itself. */
  measuredDirectory: z.string().nullable().default(null),
});
export type LaunchSpec = z.infer<typeof launchSpecSchema>;

/** What the launcher hands to `prepare`, the program that fills the session's workspace in a pod before agent and supervisor begin. Holds no secret. */
export const prepareSpecSchema = z.strictObject({
  sessionId: z.string(),
  workspace: workspaceSchema.nullable(),
  /** What is cloned when the turn names nothing. */
  defaultRepository: z.string().nullable(),
});
export type PrepareSpec = z.infer<typeof prepareSpecSchema>;
