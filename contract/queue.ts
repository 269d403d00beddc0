import { z } from 'zod';
import { commandPayloadSchema, idempotencyKeySchema } from './commands.js';
import { executionPolicyInputSchema } from './execution-policy.js';
import { jsonObjectSchema } from './json.js';
import { optional, optionalOr } from './optional.js';
import { labelsSchema, sessionRefSchema, workspaceInputSchema } from './runs.js';
import { backendProfileSchema, queueTaskStateSchema } from './states.js';
import { promptSchema, textSchema } from './text.js';

/** Body of `POST /api/v1/queue/tasks`. Creating does not dispatch (contract.md 4.2). Either `payload` or `prompt`. */
export const createQueueTaskSchema = z
  .strictObject({
    tenantId: textSchema,
    projectId: textSchema,
    queue: optionalOr(textSchema.max(100), 'default'),
    title: optional(textSchema.max(300)),
    payload: optional(commandPayloadSchema),
    prompt: optional(promptSchema),
    priority: optionalOr(z.number().int().min(-1_000).max(1_000), 0),
    backendProfile: optionalOr(backendProfileSchema, 'codex'),
    sessionRef: optional(sessionRefSchema),
    workspace: optional(workspaceInputSchema),
    executionPolicy: optional(executionPolicyInputSchema),
    labels: optional(labelsSchema),
    metadata: optional(jsonObjectSchema),
    idempotencyKey: optional(idempotencyKeySchema),
  })
  .refine((body) => body.payload !== undefined || (body.prompt?.trim() ?? '') !== '', {
    message: 'expected a payload object or a non-blank prompt',
    path: ['prompt'],
  })
  .meta({ id: 'CreateQueueTask' });
export type CreateQueueTask = z.infer<typeof createQueueTaskSchema>;

/** A queue task as the API answers it (contract.md 4). */
export const queueTaskRecordSchema = z
  .object({
    id: z.string(),
    tenantId: z.string(),
    projectId: z.string(),
    queue: z.string(),
    title: z.string().nullable(),
    state: queueTaskStateSchema,
    priority: z.number().int(),
    backendProfile: backendProfileSchema,
    sessionRef: z.object({ sessionId: z.string() }),
    payload: jsonObjectSchema,
    labels: labelsSchema,
    metadata: jsonObjectSchema,
    attempts: z.number().int(),
    latestAttempt: z
      .object({ runId: z.string().nullable(), commandId: z.string().nullable(), sessionId: z.string() })
      .nullable(),
    terminalStatus: z.string().nullable(),
    failureKind: z.string().nullable(),
    failureMessage: z.string().nullable(),
    createdAt: z.string(),
    dispatchedAt: z.string().nullable(),
    finishedAt: z.string().nullable(),
    updatedAt: z.string(),
    valuesPrinted: z.literal(false),
  })
  .meta({
    id: 'QueueTask',
    description: 'Work that waits in a queue and becomes a turn of a session when it is dispatched.',
  });
export type QueueTaskRecord = z.infer<typeof queueTaskRecordSchema>;

/** Body of dispatch: nothing to say yet. */
export const dispatchSchema = z.strictObject({});
