import type { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { JsonObject } from '../contract/json.js';

/** One wrong field: where it is, what was expected, and the kind of what came. Never its value. */
interface FieldIssue extends JsonObject {
  path: string;
  expected: string;
  received: string;
}

/**
 * Parses one part of a request.
 *
 * @param part `body`, `query` or `path`: names the root when the whole part is wrong.
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

/** The error for wrong fields. */
export function schemaInvalid(issues: readonly FieldIssue[]): AgentRunError {
  const message = issues
    .map(({ path, expected, received }) => `${path}: ${expected} (received ${received})`)
    .join('; ');
  return new AgentRunError('schema-invalid', message.slice(0, 2_000), {
    details: { issues: issues.slice(0, 50) },
  });
}

function describeIssue(issue: z.core.$ZodIssue, root: unknown, part: string): FieldIssue[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      path: pathText([...issue.path, key], part),
      expected: 'no such field',
      received: kindAt(root, [...issue.path, key]),
    }));
  }
  return [
    { path: pathText(issue.path, part), expected: expectation(issue), received: kindAt(root, issue.path) },
  ];
}

function pathText(path: readonly PropertyKey[], part: string): string {
  if (path.length === 0) return part;
  const text = path.map((step) => String(step).slice(0, 100)).join('.');
  return part === 'query' ? `query.${text}` : text;
}

function expectation(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type')
    return `expected ${issue.expected === 'int' ? 'an integer' : issue.expected}`;
  if (issue.code === 'invalid_value') {
    return `expected ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}`;
  }
  if (issue.message.startsWith('expected')) return issue.message;
  if (issue.code === 'too_small') return `expected ${measured(issue.origin)} at least ${issue.minimum}`;
  if (issue.code === 'too_big') return `expected ${measured(issue.origin)} at most ${issue.maximum}`;
  return issue.message;
}

function measured(origin: string): string {
  if (origin === 'string') return 'a length of';
  return origin === 'array' ? 'a list of' : 'a number of';
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
