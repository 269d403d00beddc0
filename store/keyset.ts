import { z } from 'zod';
import { AgentRunError } from '../contract/errors.js';
import type { LabelCondition, Page } from '../contract/queries.js';

/** Grows when the meaning of a key changes; a cursor of another version is refused. */
const cursorVersion = 1;

const cursorSchema = z.tuple([z.literal(cursorVersion), z.string(), z.array(z.string())]);

/** A time with microseconds, as Postgres keeps it: with less, rows of one millisecond would be skipped or doubled. Postgres has no year 0. */
const exactTimeSchema = z.iso.datetime({ precision: 6 }).refine((text) => !text.startsWith('0000'));
/** Postgres text holds no NUL, and an id no control character. */
const keyTextSchema = z.string().regex(/^\P{Cc}{1,300}$/u);

/** Sort key of a list: ids that sort by time. */
export const idKeySchema = z.tuple([keyTextSchema]);
/** Sort key of a list: time of creation, then the id. */
export const creationKeySchema = z.tuple([exactTimeSchema, keyTextSchema]);

/** SQL: a timestamptz expression as the text that {@link creationKeySchema} takes. */
export const exactTime = (expression: string) =>
  `to_char(${expression} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

/** One list that pages by keyset: its name is in its cursors, so that no other list takes them. */
export interface Keyset<Key extends readonly string[]> {
  readonly list: string;
  readonly key: z.ZodType<Key>;
}

/** The cursor behind a row. Opaque to callers: base64url of `[version, list, key]`. */
export function encodeCursor(list: string, key: readonly string[]): string {
  return Buffer.from(JSON.stringify([cursorVersion, list, key])).toString('base64url');
}

/**
 * The sort key of a cursor, undefined without one.
 *
 * @throws AgentRunError `schema-invalid` for a cursor that this list did not answer.
 */
export function decodeCursor<Key extends readonly string[]>(
  { list, key }: Keyset<Key>,
  cursor: string | undefined,
): Key | undefined {
  if (cursor === undefined) return undefined;
  const [, of, values] = cursorSchema.safeParse(jsonOf(cursor)).data ?? [];
  const parsed = key.safeParse(values);
  if (of === list && parsed.success) return parsed.data;
  const issue = {
    path: 'query.cursor',
    expected: 'expected the nextCursor of a page of this list',
    received: 'string',
  };
  throw new AgentRunError('schema-invalid', `${issue.path}: ${issue.expected} (received ${issue.received})`, {
    details: { issues: [issue] },
  });
}

function jsonOf(cursor: string): unknown {
  if (!/^[A-Za-z0-9_-]+$/.test(cursor)) return undefined;
  try {
    return JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}

/** Cuts a page out of `limit` + 1 rows: the row too many says that there are more, and is not answered. */
export function cutPage<Row, Item>(
  rows: readonly Row[],
  limit: number,
  {
    list,
    keyOf,
    itemOf,
  }: { list: string; keyOf: (row: Row) => readonly string[]; itemOf: (row: Row) => Item },
): Page<Item> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const hasMore = rows.length > limit;
  return {
    items: shown.map(itemOf),
    nextCursor: hasMore && last !== undefined ? encodeCursor(list, keyOf(last)) : null,
    hasMore,
  };
}

/**
 * The conditions of one list query with their parameters. Only those that were asked for are in the statement, so that Postgres plans each
 * combination with the index that serves it.
 */
export class Conditions {
  readonly values: unknown[];
  readonly #terms: string[] = [];

  /** @param values parameters that the statement has already, `$1` and on. */
  constructor(values: readonly unknown[] = []) {
    this.values = [...values];
  }

  /** The parameter that stands for a value. */
  parameter(value: unknown): string {
    this.values.push(value);
    return `$${this.values.length}`;
  }

  add(term: string): void {
    this.#terms.push(term);
  }

  /** `column = value`, unless the value is undefined. */
  equal(column: string, value: string | undefined): void {
    if (value !== undefined) this.add(`${column} = ${this.parameter(value)}`);
  }

  /** All label conditions hold on a jsonb column; both operators use its GIN index. */
  labels(column: string, conditions: readonly LabelCondition[]): void {
    const exact = conditions.flatMap(({ key, value }) => (value === null ? [] : [{ [key]: value }]));
    for (const pair of exact) this.add(`${column} @> ${this.parameter(JSON.stringify(pair))}::jsonb`);
    for (const { key, value } of conditions) {
      if (value === null) this.add(`${column} ? ${this.parameter(key)}`);
    }
  }

  /** The where clause. */
  toString(): string {
    return this.#terms.length === 0 ? 'true' : this.#terms.join(' and ');
  }
}
