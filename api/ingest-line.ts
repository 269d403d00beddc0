import { type EventType, eventTypes } from '../contract/events.js';
import { type CompletionLine, completionLineSchema, ingestLineSchema } from '../contract/ingest.js';
import type { JsonObject, JsonValue } from '../contract/json.js';
import type { ReceivedLine } from '../store/append-batch.js';
import { parseJson } from './json-body.js';
import { parsePart } from './validation.js';

/** The agent's own words nest deeper than what people send. */
const lineDepth = 100;

/**
 * Reads one line of an ingest body: an event or the completion line. A line as runners write it is checked here by hand, at a fraction of the cost of the
 * schema; every other one is the schema's, which gives the same for both (a test compares them).
 *
 * @param bytes the line in UTF-8, of which `text` is the trimmed text.
 * @param part names the line in the error.
 * @throws AgentRunError `schema-invalid`.
 */
export function readIngestLine(bytes: Uint8Array, text: string, part: string): ReceivedLine | CompletionLine {
  const plain = readPlainLine(bytes, text);
  if (plain !== undefined) return plain;
  const value = parseJson(text, lineDepth, part);
  return typeof value === 'object' && value !== null && Object.hasOwn(value, 'complete')
    ? parsePart(completionLineSchema, value, part)
    : parsePart(ingestLineSchema, value, part);
}

/** Escapes of what jsonb cannot hold. */
const unstorableEscape = /\\u(?:0000|d[89a-f])/i;
const knownTypes: ReadonlyMap<unknown, EventType> = new Map(eventTypes.map((type) => [type, type]));

/** Undefined: the schema has to say what is wrong, or to make something else of it. */
function readPlainLine(bytes: Uint8Array, text: string): ReceivedLine | undefined {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(line) || !hasOnly(line, lineFields)) return undefined;
  const { seq, event } = line;
  if (typeof seq !== 'number' || !Number.isSafeInteger(seq) || seq < 1) return undefined;
  if (!isObject(event) || !hasOnly(event, eventFields)) return undefined;
  const { at, payload, raw } = event;
  const type = knownTypes.get(event.type);
  if (type === undefined || !isObject(payload) || !isPlain(payload, lineDepth - 2)) return undefined;
  if (at !== undefined && !(typeof at === 'string' && isPlainTime(at))) return undefined;
  if (raw !== undefined && !isPlain(raw, lineDepth - 2)) return undefined;
  if (text.includes('\\u') && unstorableEscape.test(text)) return undefined;
  return {
    seq,
    event: { type, payload, ...(at === undefined ? {} : { at }), ...(raw === undefined ? {} : { raw }) },
    // What is blank to us around a line may be more than what is blank to JSON.
    json: bytes[0] === brace.open && bytes.at(-1) === brace.close ? bytes : Buffer.from(text),
  };
}

const brace = { open: 0x7b, close: 0x7d } as const;
const lineFields: ReadonlySet<string> = new Set(['seq', 'event']);
const eventFields: ReadonlySet<string> = new Set(['type', 'at', 'payload', 'raw']);
const hasOnly = (value: object, fields: ReadonlySet<string>) =>
  Object.keys(value).every((key) => fields.has(key));

/** Of what JSON.parse has made. */
const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Not nested too deep, no number beyond the range of a double, no field of a name that the schema drops. */
function isPlain(value: JsonValue, depth: number): boolean {
  if (typeof value === 'number') return Number.isFinite(value);
  if (typeof value !== 'object' || value === null) return true;
  if (depth === 0) return false;
  if (Array.isArray(value)) return value.every((item) => isPlain(item, depth - 1));
  return (
    !Object.hasOwn(value, '__proto__') && Object.values(value).every((child) => isPlain(child, depth - 1))
  );
}

/** The events of a batch are often of one millisecond. */
let latestPlainTime = '';

/** As `toISOString` writes a time: the schema leaves it as it is. */
function isPlainTime(text: string): boolean {
  if (text === latestPlainTime) return true;
  if (text.length !== 24 || text.startsWith('0000')) return false;
  const time = new Date(text);
  if (Number.isNaN(time.getTime()) || time.toISOString() !== text) return false;
  latestPlainTime = text;
  return true;
}
