import { z } from 'zod';
import { placeholdersIn, runtimePlaceholders, shellPlaceholders } from './template.js';

/**
 * Every way a model provider fails that agents.md 2.1 ("What a provider failure turns into") names, and `http` for
 * any other status.
 */
export const failureKindSchema = z.enum([
  'unauthorized',
  'rate_limited',
  'insufficient_quota',
  'bad_request',
  'model_not_found',
  'server_error',
  'server_overloaded',
  'http',
  'context_length_exceeded',
  'rate_limit_exceeded',
  'stream_cut',
  'stream_stall',
  'connection_lost',
]);
export type FailureKind = z.infer<typeof failureKindSchema>;

/**
 * A failure in place of a step's answer.
 *
 * - `times`: fail so many requests, then play the step. Without it every request for the step fails. A provider's
 *   retries count as requests.
 * - `status`: the HTTP status of `http` (default 500).
 * - `message`: the provider's error text (a default per kind).
 * - `retryAfterS`: the `retry-after` header in seconds (default 1 for `rate_limited`).
 * - `afterDeltas`: how many deltas of the step's text go out before `stream_cut` and `stream_stall` (default 1).
 * - `untilReleased`: fail until the hold of this name is released, then play the step.
 */
export const failureSchema = z.strictObject({
  kind: failureKindSchema,
  times: z.int().positive().optional(),
  status: z.int().min(400).max(599).optional(),
  message: z.string().optional(),
  retryAfterS: z.number().nonnegative().optional(),
  afterDeltas: z.int().nonnegative().optional(),
  untilReleased: z.string().min(1).optional(),
});
export type Failure = z.infer<typeof failureSchema>;

const spokenText = z
  .string()
  .superRefine((text, context) => refusePlaceholders(text, runtimePlaceholders, context));
const shellText = z
  .string()
  .superRefine((text, context) => refusePlaceholders(text, shellPlaceholders, context));

/**
 * One call of a tool. `{cmd}` is a shell command (Codex's `exec_command`), which yields after `yieldTimeMs` (Codex
 * takes 30 s at most) and then runs on in the background; `{name, arguments}` is any other tool.
 */
export const toolCallSchema = z.union([
  z.strictObject({
    name: z.literal('exec_command').default('exec_command'),
    cmd: shellText,
    yieldTimeMs: z.int().positive().default(10_000),
  }),
  z.strictObject({
    name: z.string().min(1),
    arguments: z.record(z.string(), z.union([shellText, z.number(), z.boolean()])),
  }),
]);
export type ToolCall = z.infer<typeof toolCallSchema>;

/** Tokens of one model request; input includes cached, output includes reasoning. */
export const usageSchema = z.strictObject({
  inputTokens: z.int().nonnegative(),
  cachedInputTokens: z.int().nonnegative().default(0),
  outputTokens: z.int().nonnegative(),
  reasoningTokens: z.int().nonnegative().default(0),
});
export type Usage = z.infer<typeof usageSchema>;

/**
 * A step answers one model request: reasoning, then text, then tool calls. A step without tool calls ends the turn.
 *
 * - `deltas`, `deltaMs`: the text arrives in so many pieces, so far apart. `firstTokenMs`: wait before the first.
 * - `hold`: wait for the named hold, after `holdAfterDeltas` pieces of the text (default 0: before the first token).
 * - `repeat`: play the step for so many requests. `repeatWhileOutputContains`: play it as long as the last tool output
 *   contains this text, and pass over it when it does not (to poll a command that runs in the background).
 * - `expectText`: texts that user messages or tool outputs of the request must contain, else the request is refused.
 * - `stableIds`: name the items of the answer the same way each time, so that a retry repeats their ids.
 */
export const stepSchema = z.strictObject({
  reasoning: spokenText.optional(),
  text: spokenText.optional(),
  toolCalls: z.array(toolCallSchema).default([]),
  deltas: z.int().positive().max(10_000).optional(),
  firstTokenMs: z.int().nonnegative().default(0),
  deltaMs: z.int().nonnegative().default(0),
  hold: z.string().min(1).optional(),
  holdAfterDeltas: z.int().nonnegative().default(0),
  failure: failureSchema.optional(),
  usage: usageSchema.optional(),
  repeat: z.int().positive().default(1),
  repeatWhileOutputContains: z.string().min(1).optional(),
  expectText: z.array(z.string().min(1)).default([]),
  stableIds: z.boolean().default(false),
});
export type Step = z.infer<typeof stepSchema>;

export const scenarioNameSchema = z
  .string()
  .regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'lower case words joined by "-"');

/**
 * A scenario after its parameters are filled in. `steerAcknowledgement` is put before the text of the first answer
 * that sees a message sent into the running turn; an empty one switches it off.
 */
export const scenarioSchema = z.strictObject({
  name: scenarioNameSchema,
  description: z.string().optional(),
  params: z.record(z.string().regex(/^[a-zA-Z]+$/), z.string()).default({}),
  steerAcknowledgement: spokenText.default('You also said: {{steers}}'),
  steps: z.array(stepSchema).min(1),
});
export type Scenario = z.infer<typeof scenarioSchema>;
/** A scenario as a file or a test writes it: defaults left out. */
export type ScenarioInput = z.input<typeof scenarioSchema>;

function refusePlaceholders(text: string, allowed: readonly string[], context: z.RefinementCtx): void {
  for (const name of placeholdersIn(text)) {
    if (allowed.includes(name)) continue;
    context.addIssue({
      code: 'custom',
      message: `{{${name}}} is not known here (known: ${allowed.join(', ')})`,
    });
  }
}
