import { z } from 'zod';
import { agentRequestIdSchema } from './ids.js';
import { agentRequestKindSchema, agentRequestStateSchema } from './states.js';

/** One question of an agent; with `options` one of them is expected. A `secret` answer is handed on and never stored in the log. */
export const agentQuestionSchema = z
  .object({
    id: z.string().max(200),
    header: z.string().max(500),
    question: z.string().max(4_000),
    options: z.array(z.object({ label: z.string().max(500), description: z.string().max(2_000) })).nullable(),
    secret: z.boolean(),
  })
  .meta({ id: 'AgentQuestion' });
export type AgentQuestion = z.infer<typeof agentQuestionSchema>;

/**
 * What an agent asks a person, as its driver reports it. `fingerprint` is equal for the same thing asked again by a later attempt (a hash of kind,
 * command, folder, environment, permissions and patches), so that an answer given while no runner was there is used once and for exactly that. Of a thing
 * that the driver cannot tell from another it is random.
 */
export const agentRequestSchema = z.object({
  requestId: agentRequestIdSchema,
  kind: agentRequestKindSchema,
  itemId: z.string().nullable(),
  /** One line for a person. */
  summary: z.string().max(2_000),
  command: z.string().max(20_000).nullable(),
  cwd: z.string().max(4_096).nullable(),
  reason: z.string().max(4_000).nullable(),
  questions: z.array(agentQuestionSchema).max(20),
  /**
   * All that would be granted besides the command, in lines: permissions, network host, root, files with their patches. Only patches may be cut, and say
   * so. Requests stored before the field was there have null.
   */
  details: z.string().max(40_000).nullable().default(null),
  fingerprint: z.string().max(128),
});
export type AgentRequest = z.infer<typeof agentRequestSchema>;

/** How a person decides. `answer`: the words or choices that a question or elicitation asks for. */
export const agentRequestDecisionSchema = z
  .enum(['approve', 'approve-for-session', 'deny', 'answer'])
  .meta({ id: 'AgentRequestDecision' });
export type AgentRequestDecision = z.infer<typeof agentRequestDecisionSchema>;

/**
 * Payload of a command of type `answer`. `text` is the person's words (the reason of a denial, the answer to a single question), `answers` the
 * answers by question id.
 */
export const answerPayloadSchema = z.strictObject({
  requestId: agentRequestIdSchema,
  decision: agentRequestDecisionSchema,
  text: z.string().max(262_144).nullable(),
  answers: z.record(z.string(), z.array(z.string())).nullable(),
});
export type AnswerPayload = z.infer<typeof answerPayloadSchema>;

/** How a request was resolved, as a driver is told. */
export const agentRequestResolutionSchema = z
  .discriminatedUnion('resolution', [
    z.strictObject({ resolution: z.literal('approved'), forSession: z.boolean() }),
    z.strictObject({ resolution: z.literal('denied'), text: z.string().nullable() }),
    z.strictObject({
      resolution: z.literal('answered'),
      text: z.string().nullable(),
      answers: z.record(z.string(), z.array(z.string())).nullable(),
    }),
    z.strictObject({ resolution: z.literal('timed-out') }),
    z.strictObject({ resolution: z.literal('no-channel') }),
    z.strictObject({ resolution: z.literal('withdrawn') }),
    z.strictObject({ resolution: z.literal('superseded') }),
  ])
  .meta({ id: 'AgentRequestResolution' });
export type AgentRequestResolution = z.infer<typeof agentRequestResolutionSchema>;

/** A request as the API answers it. Times are ISO 8601 UTC; `deliveredAt`: the agent was told. */
export const agentRequestRecordSchema = agentRequestSchema
  .extend({
    runId: z.string(),
    sessionId: z.string(),
    epoch: z.number().int(),
    state: agentRequestStateSchema,
    askedAt: z.string(),
    expiresAt: z.string().nullable(),
    resolvedAt: z.string().nullable(),
    deliveredAt: z.string().nullable(),
    answerCommandId: z.string().nullable(),
    valuesPrinted: z.literal(false),
  })
  .meta({
    id: 'AgentRequest',
    description: 'Something the agent asks a person for: leave to act, or an answer.',
  });
export type AgentRequestRecord = z.infer<typeof agentRequestRecordSchema>;

/** Answer of `POST /api/v1/runs/:runId/requests/:requestId/expire`, asked by the runner when the time is over: what counts is the record. */
export const expireAnswerSchema = z.object({
  requestId: z.string(),
  resolution: agentRequestResolutionSchema,
});
