import type { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { JsonObject } from '../contract/json.js';

/** One wrong field: where it is, what was expected (`nothing` of an unknown one), and the kind of what came. Never its value. */
interface FieldIssue extends JsonObject {
  path: string;
  expected: string;
  received: string;
}

/**
 * Parses one part of a request.
 *
 * @param part `body`, `query`, `path`, or the name of one parameter or header: names the root when the whole part is wrong.
 * @throws AgentRunError `schema-invalid` naming every wrong field in message and details.
 */
export function parsePart<Schema extends z.ZodType>(
  schema: Schema,
  value: unknown,
  part: string,
): z.output<Schema> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw schemaInvalid(parsed.error.issues.flatMap((issue) => describeIssue(issue, value, part)));
}

/** A wrong field with the sentence that says so: `expected …`, or `no such …`. */
export interface WrongField {
  readonly path: string;
  readonly sentence: string;
  readonly received: string;
  /** In full, where the sentence shortens it. */
  readonly expected?: string | undefined;
}

/** The error for wrong fields. */
export function schemaInvalid(wrong: readonly WrongField[]): AgentRunError {
  const message = wrong
    .map(({ path, sentence, received }) => `${path}: ${sentence} (received ${received})`)
    .join('; ');
  const issues = wrong.slice(0, 50).map(
    ({ path, sentence, received, expected }): FieldIssue => ({
      path,
      expected:
        expected ?? (sentence.startsWith('expected ') ? sentence.slice('expected '.length) : 'nothing'),
      received,
    }),
  );
  return new AgentRunError('schema-invalid', message.slice(0, 2_000), { details: { issues } });
}

function describeIssue(issue: z.core.$ZodIssue, root: unknown, part: string): WrongField[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      path: pathText([...issue.path, key], part),
      ...(part === 'query'
        ? { sentence: 'no such parameter', received: 'text' }
        : { sentence: 'no such field', received: receivedAt(root, [...issue.path, key], part) }),
    }));
  }
  return [
    {
      path: pathText(issue.path, part),
      ...expectation(issue),
      received: receivedAt(root, issue.path, part),
    },
  ];
}

function pathText(path: readonly PropertyKey[], part: string): string {
  if (path.length === 0) return part;
  const text = path.map((step) => String(step).slice(0, 100)).join('.');
  return part === 'query' ? `query.${text}` : text;
}

const kindNames: Readonly<Record<string, string>> = {
  int: 'an integer',
  number: 'a number',
  string: 'text',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};
const formatNames: Readonly<Record<string, string>> = {
  datetime: 'a time such as 2026-01-31T12:00:00Z, with its offset',
};

/** So many words of a list are in the sentence, which an answer holds more than once; the details hold all. */
const wordsShown = 8;

function expectation(issue: z.core.$ZodIssue): Pick<WrongField, 'sentence' | 'expected'> {
  if (issue.code === 'invalid_value') return oneOf(issue.values);
  if (issue.code === 'invalid_type')
    return { sentence: `expected ${kindNames[issue.expected] ?? issue.expected}` };
  if (issue.message.startsWith('expected')) return { sentence: issue.message };
  if (issue.code === 'too_small')
    return { sentence: `expected ${measured(issue.origin)} at least ${issue.minimum}` };
  if (issue.code === 'too_big')
    return { sentence: `expected ${measured(issue.origin)} at most ${issue.maximum}` };
  if (issue.code === 'invalid_format')
    return { sentence: `expected ${formatNames[issue.format] ?? `a text of the form ${issue.format}`}` };
  return { sentence: 'expected another value' };
}

function oneOf(values: readonly unknown[]): Pick<WrongField, 'sentence' | 'expected'> {
  // An empty parameter is as none: nobody is told to send it.
  const words = values.filter((value) => value !== '').map((value) => JSON.stringify(value));
  const expected = words.join(' or ');
  if (words.length <= wordsShown) return { sentence: `expected ${expected}` };
  const shown = words.slice(0, wordsShown).join(' or ');
  return { sentence: `expected ${shown} or another of ${words.length} words`, expected };
}

function measured(origin: string): string {
  if (origin === 'string') return 'a length of';
  return origin === 'array' ? 'a list of' : 'a number of';
}

/** All parameters, ids and headers are text: their kind says nothing. */
function receivedAt(root: unknown, path: readonly PropertyKey[], part: string): string {
  const kind = kindAt(root, path);
  const isJson = part === 'body' || part.startsWith('line ');
  return !isJson && kind === 'string' ? 'other text' : kind;
}

function kindAt(root: unknown, path: readonly PropertyKey[]): string {
  let value = root;
  for (const step of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, step)) return 'nothing';
    value = Reflect.get(value, step);
  }
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}
