import { itemId } from './item-ids.js';
import type { Choice } from './player.js';
import type { ProviderError } from './provider-failures.js';
import type { ToolCall, Usage } from './scenario.js';
import type { TemplateValues } from './template.js';
import { fillIn } from './template.js';

/** One event of a Responses API stream, without its sequence number. */
export interface StreamEvent {
  readonly type: string;
  readonly [field: string]: unknown;
}

type OutputItem =
  | {
      type: 'reasoning';
      id: string;
      summary: { type: 'summary_text'; text: string }[];
      encrypted_content: string;
    }
  | { type: 'message'; id: string; role: 'assistant'; status: string; content: OutputText[] }
  | { type: 'function_call'; id: string; call_id: string; name: string; arguments: string; status: string };
interface OutputText {
  type: 'output_text';
  text: string;
  annotations: never[];
}

/**
 * A whole answer, cut where the player waits: `opening` at once, then `deltas` one by one, then `closing` in one piece.
 * The items are completed only in `closing`, so a client that leaves before it keeps none of them.
 */
export interface Answer {
  readonly responseId: string;
  readonly opening: readonly StreamEvent[];
  readonly deltas: readonly StreamEvent[];
  readonly closing: readonly StreamEvent[];
}

/** Writes an event as a frame of a server-sent event stream. */
export function frame(event: StreamEvent, sequenceNumber: number): string {
  return `event: ${event.type}\ndata: ${JSON.stringify({ ...event, sequence_number: sequenceNumber })}\n\n`;
}

/** Builds the events of a step's answer. `inputBytes` is the size of the request, for a plausible usage. */
export function buildAnswer(choice: Choice, model: string, inputBytes: number): Answer {
  const responseId = `resp_sm-${choice.idSuffix}`;
  const items = outputItems(choice);
  const response = { id: responseId, object: 'response', model, created_at: Math.floor(Date.now() / 1000) };
  const completed = {
    ...response,
    status: 'completed',
    output: items,
    usage: wireUsage(choice.content.usage ?? plausibleUsage(inputBytes, items)),
  };
  const opening: StreamEvent[] = [
    { type: 'response.created', response: { ...response, status: 'in_progress', output: [] } },
  ];
  const deltas: StreamEvent[] = [];
  const closing: StreamEvent[] = [];
  for (const [index, item] of items.entries()) {
    if (item.type === 'reasoning') opening.push(...reasoningEvents(item, index), doneEvent(item, index));
    if (item.type === 'message') {
      const text = item.content[0]?.text ?? '';
      deltas.push(...pieces(text, choice.content.deltas).map((piece) => deltaEvent(item.id, index, piece)));
      closing.push({
        type: 'response.output_text.done',
        item_id: item.id,
        output_index: index,
        content_index: 0,
        text,
      });
    }
    if (item.type === 'function_call') closing.push(addedEvent({ ...item, arguments: '' }, index));
    if (item.type !== 'reasoning') closing.push(doneEvent(item, index));
  }
  closing.push({ type: 'response.completed', response: completed });
  return { responseId, opening, deltas: withMessageOpening(items, deltas), closing };
}

/** The event that ends a stream with an error of the provider. */
export function failedEvent(responseId: string, error: ProviderError): StreamEvent {
  return {
    type: 'response.failed',
    response: {
      id: responseId,
      object: 'response',
      status: 'failed',
      error: { code: error.code, message: error.message },
      output: [],
      usage: null,
    },
  };
}

/** A sign of life that clients ignore but that keeps their idle timers from firing. */
export function inProgressEvent(responseId: string): StreamEvent {
  return {
    type: 'response.in_progress',
    response: { id: responseId, object: 'response', status: 'in_progress' },
  };
}

/** Cuts a text into `count` pieces of about the same length (fewer when the text is shorter; one by default). */
export function pieces(text: string, count = 1): string[] {
  const characters = Array.from(text);
  const wanted = Math.min(count, characters.length);
  return Array.from({ length: wanted }, (_, at) => {
    const from = Math.floor((at * characters.length) / wanted);
    const to = Math.floor(((at + 1) * characters.length) / wanted);
    return characters.slice(from, to).join('');
  });
}

function outputItems(choice: Choice): OutputItem[] {
  const { content, values } = choice;
  const reasoning = content.reasoning === undefined ? '' : fillIn(content.reasoning, values);
  const text = [choice.acknowledgement, content.text ?? '']
    .filter((part) => part !== '')
    .map((part) => fillIn(part, values))
    .join('\n\n');
  // A turn ends with a message; a step that says and calls nothing still has to answer something.
  const hasMessage = text !== '' || content.toolCalls.length === 0;
  const items = (reasoning === '' ? 0 : 1) + (hasMessage ? 1 : 0) + content.toolCalls.length;
  const output: OutputItem[] = [];
  const id = (prefix: 'msg' | 'rs' | 'fc' | 'call') =>
    itemId(prefix, { ...choice, item: output.length, items }, choice.idSuffix);
  if (reasoning !== '') {
    const summary = [{ type: 'summary_text' as const, text: reasoning }];
    output.push({ type: 'reasoning', id: id('rs'), summary, encrypted_content: 'scripted' });
  }
  if (hasMessage) {
    const message = [{ type: 'output_text' as const, text: text || '(nothing to say)', annotations: [] }];
    output.push({ type: 'message', id: id('msg'), role: 'assistant', status: 'completed', content: message });
  }
  for (const call of content.toolCalls) {
    const { name, args } = toolArguments(call, values);
    const item = { id: id('fc'), call_id: id('call'), name, arguments: JSON.stringify(args) };
    output.push({ type: 'function_call', ...item, status: 'completed' });
  }
  return output;
}

function toolArguments(
  call: ToolCall,
  values: TemplateValues,
): { name: string; args: Record<string, unknown> } {
  if ('cmd' in call) {
    return { name: call.name, args: { cmd: fillIn(call.cmd, values), yield_time_ms: call.yieldTimeMs } };
  }
  const args = Object.entries(call.arguments).map(([key, value]): [string, string | number | boolean] => {
    if (value === '{{shellSessionId}}') return [key, Number(values.shellSessionId)];
    return [key, typeof value === 'string' ? fillIn(value, values) : value];
  });
  return { name: call.name, args: Object.fromEntries(args) };
}

function reasoningEvents(item: Extract<OutputItem, { type: 'reasoning' }>, index: number): StreamEvent[] {
  const where = { item_id: item.id, output_index: index, summary_index: 0 };
  const text = item.summary[0]?.text ?? '';
  return [
    addedEvent({ ...item, summary: [] }, index),
    { type: 'response.reasoning_summary_part.added', ...where, part: { type: 'summary_text', text: '' } },
    { type: 'response.reasoning_summary_text.delta', ...where, delta: text },
    { type: 'response.reasoning_summary_text.done', ...where, text },
  ];
}

/** The message is announced together with its first piece of text, not before the first token. */
function withMessageOpening(items: readonly OutputItem[], deltas: readonly StreamEvent[]): StreamEvent[] {
  const index = items.findIndex((item) => item.type === 'message');
  const item = items[index];
  if (item?.type !== 'message') return [];
  return [addedEvent({ ...item, status: 'in_progress', content: [] }, index), ...deltas];
}

function addedEvent(item: OutputItem, index: number): StreamEvent {
  return { type: 'response.output_item.added', output_index: index, item };
}

function doneEvent(item: OutputItem, index: number): StreamEvent {
  return { type: 'response.output_item.done', output_index: index, item };
}

function deltaEvent(id: string, index: number, delta: string): StreamEvent {
  return { type: 'response.output_text.delta', item_id: id, output_index: index, content_index: 0, delta };
}

/** About four bytes a token, as with real models; what was sent before counts as mostly cached. */
function plausibleUsage(inputBytes: number, items: readonly OutputItem[]): Usage {
  const inputTokens = Math.ceil(inputBytes / 4);
  const reasoningBytes = JSON.stringify(items.filter((item) => item.type === 'reasoning')).length - 2;
  return {
    inputTokens,
    cachedInputTokens: Math.floor((inputTokens * 0.8) / 128) * 128,
    outputTokens: Math.ceil(JSON.stringify(items).length / 4),
    reasoningTokens: Math.ceil(reasoningBytes / 4),
  };
}

function wireUsage(usage: Usage) {
  return {
    input_tokens: usage.inputTokens,
    input_tokens_details: { cached_tokens: usage.cachedInputTokens },
    output_tokens: usage.outputTokens,
    output_tokens_details: { reasoning_tokens: usage.reasoningTokens },
    total_tokens: usage.inputTokens + usage.outputTokens,
  };
}
