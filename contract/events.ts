import { z } from 'zod';
import { agentRequestSchema } from './agent-requests.js';
import { jsonObjectSchema, jsonValueSchema, storable } from './json.js';
import { agentRequestStateSchema } from './states.js';
import { timeSchema } from './text.js';

/** The closed list of event types (decisions.md, "Event types"). */
export const eventTypes = [
  'backend_status',
  'error',
  'terminal_status',
  'user_message',
  'agent_message',
  'reasoning',
  'plan',
  'command_execution',
  'file_change',
  'tool_call',
  'diff',
  'attempt_started',
  'steer_delivery',
  'approval_requested',
  'approval_resolved',
  'usage',
  'budget',
  'storage',
  'timeout_warning',
  'event_truncated',
  'events_lost',
] as const;
export const eventTypeSchema = z.enum(eventTypes).meta({ id: 'EventType' });
export type EventType = z.infer<typeof eventTypeSchema>;

/** A stored event (decisions.md, "Every event"). `seq` counts from 1 per run without gaps; `at` is ISO 8601 UTC. */
export const runEventSchema = z
  .object({
    seq: z.number().int().positive(),
    eventId: z.string(),
    runId: z.string(),
    attempt: z.number().int(),
    epoch: z.number().int(),
    type: eventTypeSchema,
    at: z.string(),
    payload: jsonObjectSchema,
    raw: jsonValueSchema.optional(),
  })
  .meta({
    id: 'Event',
    description: 'One entry of the log of a run. `seq` counts from 1 without gaps; `at` is ISO 8601 in UTC.',
  });
export type RunEvent = z.infer<typeof runEventSchema>;

/**
 * What a runner sends: no seq (the store counts), its own time. Its texts are storable from here on, the ids that agents choose among them, so that no
 * event stops the run that it belongs to.
 */
export const producedEventSchema = z
  .strictObject({
    type: eventTypeSchema,
    at: timeSchema.optional(),
    payload: jsonObjectSchema.overwrite(storable),
    raw: jsonValueSchema.overwrite(storable).optional(),
  })
  .meta({ id: 'ProducedEvent', description: 'An event as its runner sends it.' });
export type ProducedEvent = z.infer<typeof producedEventSchema>;

/** Events that do not exist any more: retention takes the oldest first, so a log has one gap at most, at its beginning. */
export const eventGapSchema = z
  .object({
    from: z.number().int().positive(),
    to: z.number().int().positive(),
    reason: z.literal('retention'),
  })
  .meta({ id: 'EventGap', description: 'Events `from` to `to` do not exist any more.' });
export type EventGap = z.infer<typeof eventGapSchema>;

/**
 * A page of events: `lastSeq` is the highest seq that the run ever had, `terminal` says that no event will follow, `nextRunId` is the run of the session's
 * next turn, if it has begun. `gap` is what is missing before the first event of the page; servers of before do not say it.
 */
export const eventPageSchema = z
  .object({
    items: z.array(runEventSchema),
    runId: z.string().nullable(),
    lastSeq: z.number().int().nonnegative(),
    hasMore: z.boolean(),
    terminal: z.boolean(),
    nextRunId: z.string().nullable(),
    gap: eventGapSchema.nullable().optional(),
  })
  .meta({
    id: 'EventPage',
    description:
      '`lastSeq` is the highest stored seq of the run; `terminal`: no event will follow; `nextRunId`: the run of the next turn of the session, if it has begun; `gap`: what is missing before the first event of the page.',
  });
export type EventPage = z.infer<typeof eventPageSchema>;

/** A page of the transcript of a run: only what has ended and reads as text, each with its plain rendering, which is bounded. */
export const outputPageSchema = eventPageSchema
  .extend({ items: z.array(runEventSchema.extend({ text: z.string() })) })
  .meta({
    id: 'OutputPage',
    description:
      'As a page of events, of those that read as text; a command comes when it has ended. `text` is plain, without colours, and bounded.',
  });
export type OutputPage = z.infer<typeof outputPageSchema>;

// Payload shapes of the transcript events. Readers upsert by `itemId`: a later event of the same item replaces it.

/** `user_message`: the proof that a command's text is in the agent's thread; `commandId` names the command. */
export const userMessagePayloadSchema = z.object({
  itemId: z.string(),
  commandId: z.string().nullable(),
  text: z.string(),
});
/** `agent_message` and `reasoning`: the whole text of the item. */
export const agentMessagePayloadSchema = z.object({ itemId: z.string(), text: z.string() });
/** `command_execution`: sent when it starts (`inProgress`) and again when it ends. */
export const commandExecutionPayloadSchema = z.object({
  itemId: z.string(),
  command: z.string(),
  cwd: z.string().nullable(),
  status: z.enum(['inProgress', 'completed', 'failed', 'declined']),
  exitCode: z.number().int().nullable(),
  output: z.string().nullable(),
  durationMs: z.number().nullable(),
});
/** `file_change`: paths with the kind of change and the unified diff of each. */
export const fileChangePayloadSchema = z.object({
  itemId: z.string(),
  status: z.string(),
  changes: z.array(z.object({ path: z.string(), kind: z.string(), diff: z.string().nullable() })),
});
/**
 * `usage`, counted in tokens. `source: agent` is the difference of the agent's own totals for this turn so far (cumulative for
 * the turn); `source: proxy` is one request seen by the provider proxy, with its status.
 */
export const usagePayloadSchema = z.object({
  source: z.enum(['agent', 'proxy']),
  inputTokens: z.number().int(),
  cachedInputTokens: z.number().int(),
  outputTokens: z.number().int(),
  reasoningOutputTokens: z.number().int(),
  totalTokens: z.number().int(),
  httpStatus: z.number().int().nullable().optional(),
  model: z.string().nullable().optional(),
});
export type UsagePayload = z.infer<typeof usagePayloadSchema>;
/** `steer_delivery`: where the steer `commandId` is; `delivered` only when its message was seen in the thread. */
export const steerDeliveryPayloadSchema = z.object({
  commandId: z.string(),
  delivery: z.enum(['acknowledged', 'delivered', 'next-turn', 'rejected']),
  reason: z.string().optional(),
});
/** `approval_requested`: the agent waits for a person. The store keeps it as an agent request (contract/agent-requests.ts). */
export const approvalRequestedPayloadSchema = agentRequestSchema;
/** `approval_resolved`: the agent was told so, or nobody waits any more. */
export const approvalResolvedPayloadSchema = z.object({
  requestId: z.string(),
  resolution: agentRequestStateSchema.exclude(['pending']),
  reason: z.string().nullable(),
});
/** `terminal_status`: always the last event of a run's log (architecture.md 4.2). */
export const terminalStatusPayloadSchema = z.object({
  terminalStatus: z.string(),
  failureKind: z.string().nullable(),
  message: z.string().nullable(),
});
