import { z } from 'zod';
import { isRunFailureKind, type RunFailureKind } from './failure-kinds.js';
import { jsonObjectSchema } from './json.js';
import { optional } from './optional.js';
import {
  commandStateSchema,
  commandTypeSchema,
  steerDeliverySchema,
  terminalStatusSchema,
} from './states.js';
import { promptSchema, textSchema } from './text.js';

const inputItemSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('text'), text: textSchema }),
  z.strictObject({ type: z.literal('image'), url: textSchema }),
  z.strictObject({ type: z.literal('localImage'), path: textSchema }),
]);

/**
 * Payload of a turn or steer (decisions.md, "Bodies"): either `prompt` or `input`. Open for further fields; the largest prompt is 256 KiB.
 */
export const commandPayloadSchema = z
  .looseObject({
    prompt: optional(promptSchema),
    input: optional(z.array(inputItemSchema).min(1).max(64)),
    model: optional(textSchema),
    effort: optional(textSchema),
    outputSchema: optional(jsonObjectSchema),
  })
  .refine((payload) => (payload.prompt?.trim() ?? '') !== '' || payload.input !== undefined, {
    message: 'expected a non-blank prompt or an input list',
    path: ['prompt'],
  })
  .meta({
    id: 'CommandPayload',
    description: 'What is said to the agent: either `prompt` or `input`. Further fields are handed on.',
  });
export type CommandPayload = z.infer<typeof commandPayloadSchema>;

/** The text of a payload, for logs of the agent and for plain commands. */
export function payloadText(payload: CommandPayload): string {
  if (payload.prompt !== undefined && payload.prompt.trim() !== '') return payload.prompt.trim();
  return (payload.input ?? [])
    .map((item) => (item.type === 'text' ? item.text : `[${item.type}]`))
    .join('\n');
}

export const idempotencyKeySchema = z.string().trim().min(1).max(200);

/** Body of `POST /api/v1/runs/:runId/commands`. An answer goes by `send` only, because it names its request. */
export const createCommandSchema = z
  .strictObject({
    type: z.enum(['turn', 'steer']),
    payload: commandPayloadSchema,
    idempotencyKey: optional(idempotencyKeySchema),
  })
  .meta({ id: 'CreateCommand' });

/** A command as the API answers it; `seq` counts per run, runners page by it. Its id is the message id in the agent's thread. */
export const commandRecordSchema = z
  .object({
    id: z.string(),
    runId: z.string(),
    sessionId: z.string(),
    seq: z.number().int(),
    type: commandTypeSchema,
    state: commandStateSchema,
    steerDelivery: steerDeliverySchema.nullable(),
    payload: jsonObjectSchema,
    idempotencyKey: z.string().nullable(),
    nextCommandId: z.string().nullable(),
    createdAt: z.string(),
    acknowledgedAt: z.string().nullable(),
    deliveredAt: z.string().nullable(),
    finishedAt: z.string().nullable(),
  })
  .meta({
    id: 'Command',
    description:
      'Something said to the agent of a run: its prompt (`turn`), a steer or an answer. `seq` counts per run.',
  });
export type CommandRecord = z.infer<typeof commandRecordSchema>;

/**
 * What is known about the provider's part in a failure: who says so, the status that the proxy saw, the provider's and the agent's own words for it,
 * and when a limit is reset (decisions.md, "Provider errors").
 */
export const providerEvidenceSchema = z
  .strictObject({
    evidence: z.enum(['proxy', 'agent', 'both', 'none']),
    status: z.number().int().nullable(),
    errorCode: z.string().max(200).nullable(),
    agentErrorInfo: z.string().max(200).nullable(),
    resetAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'ProviderEvidence', description: "What is known of the model provider's part in a failure." });
export type ProviderEvidence = z.infer<typeof providerEvidenceSchema>;

const longestFailureMessage = 20_000;

/**
 * The outcome body of `PATCH runs/:runId/status` and `PATCH commands/:commandId/status` (contract.md 5.9). An unknown `terminalStatus` is 400. Runners
 * have failure kinds of their own, which must not keep them from finishing: one that is not ours is `agent-error`, and its word stands before the message.
 */
export const outcomeSchema = z
  .object({
    terminalStatus: terminalStatusSchema,
    failureKind: z.string().max(200).nullable().optional(),
    failureMessage: z.string().max(longestFailureMessage).nullable().optional(),
    threadId: z.string().max(200).nullable().optional(),
    turnId: z.string().max(200).nullable().optional(),
    provider: providerEvidenceSchema.nullable().optional(),
  })
  .meta({
    id: 'Outcome',
    description:
      'How a turn ended, said by its runner. A `failureKind` that is not known counts as `agent-error`.',
  })
  .transform(({ failureKind, failureMessage, ...rest }) => ({
    ...rest,
    ...knownFailure(failureKind, failureMessage),
  }));
export type Outcome = z.infer<typeof outcomeSchema>;

/** Fields that were not said stay out: what is stored is compared with what a repeat says. */
function knownFailure(
  failureKind: string | null | undefined,
  failureMessage: string | null | undefined,
): { failureKind?: RunFailureKind | null | undefined; failureMessage?: string | null | undefined } {
  const message = failureMessage === undefined ? {} : { failureMessage };
  if (failureKind === undefined) return message;
  const word = failureKind?.trim() ?? '';
  if (word === '') return { failureKind: null, ...message };
  if (isRunFailureKind(word)) return { failureKind: word, ...message };
  const said = [word, failureMessage?.trim() ?? ''].filter((part) => part !== '').join(': ');
  return { failureKind: 'agent-error', failureMessage: said.slice(0, longestFailureMessage) };
}
