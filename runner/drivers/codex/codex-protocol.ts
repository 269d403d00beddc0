import { z } from 'zod';

/**
 * The parts of the app-server's protocol that the driver reads (codex-cli 0.169; source of truth: `codex app-server
 * generate-ts`). Everything is open to new members, and a value that does not fit is stored raw, never fatal.
 */

const text = z.string();
const itemStatus = z.string().catch('unknown');
const fileChangesSchema = z
  .array(
    z.looseObject({
      path: text,
      kind: z.looseObject({ type: text, move_path: text.nullish() }),
      diff: text.nullish(),
    }),
  )
  .catch([]);

export const userMessageItemSchema = z.looseObject({
  type: z.literal('userMessage'),
  id: text,
  clientId: text.nullish(),
  content: z.array(z.looseObject({ type: text, text: text.nullish() })).catch([]),
});

export const threadItemSchema = z.union([
  userMessageItemSchema,
  z.looseObject({ type: z.literal('agentMessage'), id: text, text }),
  z.looseObject({ type: z.literal('plan'), id: text, text }),
  z.looseObject({
    type: z.literal('reasoning'),
    id: text,
    summary: z.array(text).catch([]),
    content: z.array(text).catch([]),
  }),
  z.looseObject({
    type: z.literal('commandExecution'),
    id: text,
    command: text,
    cwd: text.nullish(),
    status: z.enum(['inProgress', 'completed', 'failed', 'declined']).catch('failed'),
    aggregatedOutput: text.nullish(),
    exitCode: z.number().int().nullish(),
    durationMs: z.number().nullish(),
  }),
  z.looseObject({
    type: z.literal('fileChange'),
    id: text,
    status: itemStatus,
    changes: fileChangesSchema,
  }),
  z.looseObject({
    type: z.enum(['mcpToolCall', 'dynamicToolCall', 'collabAgentToolCall']),
    id: text,
    tool: text,
    status: itemStatus,
    server: text.nullish(),
    namespace: text.nullish(),
    arguments: z.json().optional(),
    prompt: text.nullish(),
    result: z.json().optional(),
    contentItems: z.json().optional(),
    error: z.json().optional(),
    durationMs: z.number().nullish(),
  }),
  z.looseObject({ type: z.literal('webSearch'), id: text, query: text.nullish() }),
]);
export type ThreadItem = z.infer<typeof threadItemSchema>;

export const unknownItemSchema = z.looseObject({ type: text, id: text.nullish() });

export const itemNotificationSchema = z.looseObject({ threadId: text, turnId: text, item: z.unknown() });
export const patchUpdatedSchema = z.looseObject({ threadId: text, itemId: text, changes: fileChangesSchema });

const breakdownSchema = z.looseObject({
  totalTokens: z.number(),
  inputTokens: z.number(),
  cachedInputTokens: z.number(),
  outputTokens: z.number(),
  reasoningOutputTokens: z.number(),
});
export type TokenTotals = z.infer<typeof breakdownSchema>;
export const tokenUsageNotificationSchema = z.looseObject({
  threadId: text,
  turnId: text,
  tokenUsage: z.looseObject({ total: breakdownSchema }),
});

export const codexErrorInfoSchema = z.union([text, z.record(text, z.unknown())]);
export type CodexErrorInfo = z.infer<typeof codexErrorInfoSchema>;
export const turnErrorSchema = z.looseObject({
  message: text,
  codexErrorInfo: codexErrorInfoSchema.nullish(),
  additionalDetails: text.nullish(),
});
export type TurnError = z.infer<typeof turnErrorSchema>;
export const errorNotificationSchema = z.looseObject({
  error: turnErrorSchema,
  willRetry: z.boolean(),
  threadId: text.nullish(),
  turnId: text.nullish(),
});

export const turnSchema = z.looseObject({
  id: text,
  status: z.enum(['completed', 'interrupted', 'failed', 'inProgress']),
  error: turnErrorSchema.nullish(),
});
export type RecordedTurn = z.infer<typeof turnSchema>;
export const turnCompletedSchema = z.looseObject({ threadId: text, turn: turnSchema });
export const turnStartedSchema = z.looseObject({ threadId: text, turn: z.looseObject({ id: text }) });
export const turnStartAnswerSchema = z.looseObject({ turn: z.looseObject({ id: text }) });

export const textDeltaSchema = z.looseObject({ itemId: text, delta: text });
export const summaryPartSchema = z.looseObject({ itemId: text, summaryIndex: z.number() });

export const turnDiffSchema = z.looseObject({ threadId: text, turnId: text, diff: text });
export const turnPlanSchema = z.looseObject({
  threadId: text,
  turnId: text,
  explanation: text.nullish(),
  plan: z.array(z.looseObject({ step: text, status: text })),
});

export const threadStatusSchema = z.looseObject({ threadId: text, status: z.looseObject({ type: text }) });
export const threadAnswerSchema = z.looseObject({ thread: z.looseObject({ id: text }) });

/** `thread/items/list` and `thread/turns/list`; the cursor is opaque. */
export const itemEntrySchema = z.looseObject({
  turnId: text,
  item: z.unknown(),
  completedAtMs: z.number().nullish(),
});
export type ItemEntry = z.infer<typeof itemEntrySchema>;
export const itemsPageSchema = z.looseObject({
  data: z.array(itemEntrySchema),
  nextCursor: z.json().nullish(),
});
export const turnsPageSchema = z.looseObject({ data: z.array(turnSchema), nextCursor: z.json().nullish() });

export const warningSchema = z.looseObject({
  message: text.nullish(),
  summary: text.nullish(),
  details: text.nullish(),
});
