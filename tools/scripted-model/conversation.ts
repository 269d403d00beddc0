import { z } from 'zod';
import type { ItemPosition } from './item-ids.js';
import { parseItemId } from './item-ids.js';

const contentPartSchema = z.looseObject({ type: z.string(), text: z.string().optional() });
const contentSchema = z.union([z.string(), z.array(contentPartSchema)]);
const inputItemSchema = z.looseObject({
  type: z.string().default('message'),
  id: z.string().nullish(),
  role: z.string().optional(),
  call_id: z.string().optional(),
  content: contentSchema.nullish(),
  output: contentSchema.nullish(),
});
type InputItem = z.infer<typeof inputItemSchema>;

/** The part of a Responses API request that the scripted model reads. */
export const responsesRequestSchema = z.looseObject({
  model: z.string().default('scripted-1'),
  stream: z.boolean().default(false),
  input: z.union([
    z.string().transform((text) => [inputItemSchema.parse({ role: 'user', content: text })]),
    z.array(inputItemSchema),
  ]),
  prompt_cache_key: z.string().nullish(),
  client_metadata: z.record(z.string(), z.string()).nullish(),
});
export type ResponsesRequest = z.infer<typeof responsesRequestSchema>;

const turnMetadataSchema = z.looseObject({ request_kind: z.string().optional() });

/** One thing in the history that a request carries, in its order. */
export type Entry =
  | { readonly kind: 'user'; readonly id: string; readonly text: string; readonly ofTurn: boolean }
  | { readonly kind: 'model'; readonly position: ItemPosition | null }
  | { readonly kind: 'toolOutput'; readonly text: string };
export type UserEntry = Extract<Entry, { kind: 'user' }>;

/** What the scripted model makes of a request. `requestKind` is Codex's word: `turn`, `compaction`, ... */
export interface Conversation {
  readonly threadKey: string;
  readonly turnId: string | null;
  readonly requestKind: string;
  readonly entries: readonly Entry[];
}

/**
 * Messages with the role `user` that no user wrote: Codex puts them into the history itself (measured with 0.169).
 */
const contextPrefixes = [
  '<environment_context>',
  '<turn_aborted>',
  '<user_instructions>',
  '<user_shell_command>',
  '<skill>',
  '<subagent_notification>',
  '# AGENTS.md instructions',
  'You are performing a CONTEXT CHECKPOINT COMPACTION',
  'Another language model started to solve this problem',
];

/**
 * Reads the thread, the turn and the history out of a request. Codex 0.169 names the thread in
 * `client_metadata.thread_id`, in `prompt_cache_key` and in the header `thread-id`; the body is asked first because it
 * passes every proxy.
 */
export function readConversation(
  request: ResponsesRequest,
  headers: Readonly<Record<string, string | string[] | undefined>>,
): Conversation {
  const metadata = request.client_metadata ?? {};
  const turnId = metadata.turn_id ?? null;
  const threadKey =
    metadata.thread_id ?? request.prompt_cache_key ?? oneHeader(headers['thread-id']) ?? 'no-thread-id';
  const startedAtMs = turnId === null ? null : uuidTimeMs(turnId);
  const entries = request.input.flatMap((item) => entryOf(item, startedAtMs));
  return {
    threadKey,
    turnId,
    requestKind: requestKindOf(
      metadata['x-codex-turn-metadata'] ?? oneHeader(headers['x-codex-turn-metadata']),
    ),
    entries: startedAtMs === null ? withGuessedTurn(entries) : entries,
  };
}

function entryOf(item: InputItem, turnStartedAtMs: number | null): Entry[] {
  if (item.type === 'function_call_output' || item.type === 'custom_tool_call_output') {
    return [{ kind: 'toolOutput', text: textOf(item.output) }];
  }
  if (item.type === 'message' && item.role === 'user') {
    const text = textOf(item.content);
    if (contextPrefixes.some((prefix) => text.trimStart().startsWith(prefix))) return [];
    const sentAtMs = uuidTimeMs(item.id ?? '');
    const ofTurn = turnStartedAtMs !== null && sentAtMs !== null && sentAtMs >= turnStartedAtMs;
    return [{ kind: 'user', id: item.id ?? text, text, ofTurn }];
  }
  if (item.type === 'message' && item.role !== 'assistant') return [];
  return [{ kind: 'model', position: parseItemId(item.id ?? '') ?? parseItemId(item.call_id ?? '') }];
}

/** Without a turn id: the turn begins with the user messages that follow the last answer without a tool call. */
function withGuessedTurn(entries: readonly Entry[]): Entry[] {
  const lastEnd = entries.findLastIndex(
    (entry, at) => entry.kind === 'user' && entries[at - 1]?.kind === 'model',
  );
  return entries.map((entry, at) => (entry.kind === 'user' ? { ...entry, ofTurn: at >= lastEnd } : entry));
}

/** Codex's ids hold a UUID of version 7, which begins with the time in ms. So a turn's messages are told by their ids. */
function uuidTimeMs(id: string): number | null {
  const found = /([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/.exec(id);
  return found ? Number.parseInt(`${found[1]}${found[2]}`, 16) : null;
}

function requestKindOf(metadata: string | undefined): string {
  if (metadata === undefined) return 'turn';
  try {
    return turnMetadataSchema.parse(JSON.parse(metadata)).request_kind ?? 'turn';
  } catch {
    return 'turn';
  }
}

function textOf(content: InputItem['content']): string {
  if (typeof content === 'string') return content;
  return (content ?? []).map((part) => part.text ?? '').join('\n');
}

function oneHeader(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
