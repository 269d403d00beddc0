import { z } from 'zod';
import { labelsSchema } from './runs.js';
import {
  agentRequestKindSchema,
  queueTaskStateSchema,
  terminalStatuses,
  terminalStatusSchema,
} from './states.js';

// What arrives at the URL of a webhook (docs/webhooks.md): ids, states and times, no text of an agent or a person. `store/webhook-outbox.ts` makes it.

const links = z
  .record(z.string(), z.string())
  .optional()
  .meta({ description: 'Addresses of `run`, `session` and `task` in the API, if its public URL is known.' });
const labels = labelsSchema.nullable().meta({ description: 'null when they have more than 8 KiB' });
const about = { webhookId: z.string(), tenantId: z.string(), projectId: z.string(), links };
const message = <Type extends z.ZodType, Data extends z.ZodType>(type: Type, data: Data) =>
  z.object({ type, timestamp: z.string(), data });

/** A run has ended, after its last attempt. */
const runMessageSchema = message(
  z.enum(terminalStatuses.map((status) => `run.${status}` as const)),
  z.object({
    ...about,
    sessionId: z.string(),
    runId: z.string(),
    status: terminalStatusSchema,
    failureKind: z.string().nullable(),
    attempt: z.number().int(),
    labels,
    createdAt: z.string(),
    startedAt: z.string().nullable(),
    finishedAt: z.string(),
  }),
).meta({ id: 'RunEndedMessage', description: 'A run has ended, after its last attempt.' });

const taskMessageSchema = message(
  z.enum(([...terminalStatuses, 'expired'] as const).map((status) => `task.${status}` as const)),
  z.object({
    ...about,
    sessionId: z.string(),
    taskId: z.string(),
    runId: z.string().nullable(),
    queue: z.string(),
    status: queueTaskStateSchema,
    failureKind: z.string().nullable(),
    attempt: z.number().int(),
    labels,
    createdAt: z.string(),
    finishedAt: z.string(),
  }),
).meta({ id: 'TaskEndedMessage', description: 'A queue task has ended.' });

const requestMessageSchema = message(
  z.literal('request.pending'),
  z.object({
    ...about,
    sessionId: z.string(),
    runId: z.string(),
    requestId: z.string(),
    status: z.literal('pending'),
    kind: agentRequestKindSchema,
    attempt: z.number().int(),
    labels,
    askedAt: z.string(),
    expiresAt: z.string().nullable(),
  }),
).meta({ id: 'RequestPendingMessage', description: 'An agent waits for a person.' });

const testMessageSchema = message(
  z.literal('webhook.test'),
  z.object({ ...about, tenantId: z.string().nullable(), projectId: z.string().nullable() }),
).meta({ id: 'WebhookTestMessage', description: 'Somebody has asked for it.' });

/** Bodies of messages by what they are about. */
export const webhookMessageSchemas = {
  runEnded: runMessageSchema,
  taskEnded: taskMessageSchema,
  requestPending: requestMessageSchema,
  webhookTest: testMessageSchema,
} as const;
