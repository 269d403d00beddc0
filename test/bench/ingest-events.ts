import type { EventType, ProducedEvent } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';

/** Bytes of an event's line. */
const lineBytes = 1_024;
/** What of a line is not text. */
const frameBytes = 215;
const types: readonly EventType[] = ['agent_message', 'reasoning', 'command_execution', 'tool_call'];
const words = [
  'the ',
  'file ',
  '"quoted" ',
  'src/main.ts\n',
  'function ',
  'return ',
  'error: ',
  '0x7f3a ',
  '\\n ',
  '{} ',
  'naïve ',
  '\t',
];
const texts = Array.from({ length: 64 }, (_, seed) => textOf(seed));

/** An event as an agent makes them, of which the line is about a kibibyte; no two are the same. */
export function benchEvent(seq: number): ProducedEvent {
  const type = types[seq % types.length] ?? 'agent_message';
  const text = `${seq} ${texts[seq % texts.length] ?? ''}`;
  return { type, at: new Date().toISOString(), payload: payloadOf(type, `item-${seq}`, text) };
}

function payloadOf(type: EventType, itemId: string, text: string): JsonObject {
  const done = { itemId, status: 'completed' };
  if (type === 'command_execution')
    return {
      ...done,
      command: 'npm test',
      cwd: '/workspace',
      exitCode: 0,
      output: text,
      durationMs: 4_211,
    };
  if (type === 'tool_call')
    return { ...done, server: 'search', tool: 'find_files', arguments: { path: 'src' }, result: text };
  return { itemId, text };
}

/** Words in an order of its own, as long in JSON as the line leaves room for. */
function textOf(seed: number): string {
  let state = seed + 1;
  let text = '';
  while (Buffer.byteLength(JSON.stringify(text)) < lineBytes - frameBytes) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += words[state % words.length] ?? '';
  }
  return text;
}
