import { z } from 'zod';

// Query parameters arrive as text. Their `meta` is what OpenAPI says of them.

/**
 * A whole number in the query (decisions.md, "integers in the query"): absent or empty is the default, anything that is no
 * integer within the bounds is 400.
 */
export function integerQuery(bounds: {
  readonly min: number;
  readonly max: number;
  readonly default: number;
  readonly description?: string;
}) {
  const expected = `expected an integer from ${bounds.min} to ${bounds.max}`;
  return z
    .string()
    .optional()
    .transform((text, context) => {
      if (text === undefined || text.trim() === '') return bounds.default;
      const value = /^\d{1,16}$/.test(text.trim()) ? Number(text.trim()) : Number.NaN;
      if (value >= bounds.min && value <= bounds.max) return value;
      context.addIssue({ code: 'custom', message: expected });
      return z.NEVER;
    })
    .meta({
      type: 'integer',
      minimum: bounds.min,
      maximum: bounds.max,
      default: bounds.default,
      ...(bounds.description === undefined ? {} : { description: bounds.description }),
    });
}

const printable = z
  .string()
  .max(200)
  .regex(/^\P{Cc}*$/u, 'expected text without control characters');

/** Text in the query; empty is absent. */
export const textQuery = printable
  .optional()
  .transform((text) => (text === undefined || text.trim() === '' ? undefined : text.trim()));

/** A word or id in the query that `schema` checks; empty is absent. */
export const queryOf = <Schema extends z.ZodType<unknown, string>>(schema: Schema) =>
  textQuery.pipe(schema.optional());

/** How long a long poll may last, in milliseconds. */
export const waitMsQuery = integerQuery({ min: 0, max: 25_000, default: 0 });

/** How many items a page has at most. */
export const limitQuery = (nominal: number) => integerQuery({ min: 1, max: 500, default: nominal });

/** Where a page begins: what the page before answered as `nextCursor`; opaque. */
export const cursorQuery = z
  .string()
  .max(2_000)
  .optional()
  .transform((text) => (text === undefined || text.trim() === '' ? undefined : text.trim()));

/** One condition on labels: the key is there, and if `value` is not null it has this value. */
export interface LabelCondition {
  readonly key: string;
  readonly value: string | null;
}

const labelKey = '[^,=\\u0000-\\u001f\\u007f-\\u009f]{1,63}';
const labelValue = '[^,\\u0000-\\u001f\\u007f-\\u009f]{0,256}';
const condition = `${labelKey}(?:=${labelValue})?`;

/** `labels=team=core,urgent`: all conditions must hold, a bare key asks for its presence. A value with a comma cannot be asked for. */
export const labelsQuery = z
  .string()
  .max(2_000)
  .regex(
    new RegExp(`^(?:${condition}(?:,${condition}){0,9})?$`, 'u'),
    'expected key=value or key, at most 10 of them, divided by commas',
  )
  .optional()
  .transform((text): LabelCondition[] =>
    (text ?? '')
      .split(',')
      .filter((part) => part !== '')
      .map((part) => {
        const [key = '', ...rest] = part.split('=');
        return { key, value: rest.length === 0 ? null : rest.join('=') };
      }),
  )
  .meta({ description: 'key=value or key, divided by commas; all must hold' });

/** A page of a list by keyset (decisions.md, paging): `nextCursor` is null on the last page. */
export const pageOf = <Item extends z.ZodType>(item: Item) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable(), hasMore: z.boolean() });
export interface Page<Item> {
  readonly items: Item[];
  readonly nextCursor: string | null;
  readonly hasMore: boolean;
}
