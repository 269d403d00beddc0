import { z } from 'zod';
import { storableText } from './text.js';

export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue };
export type JsonObject = { [key: string]: JsonValue };

const json = z.json();
// Its own definition refers to itself; readers of a JSON Schema are told the same by the empty one.
json._zod.toJSONSchema = () => ({});

/** Any JSON value. */
export const jsonValueSchema: z.ZodType<JsonValue> = json;

/** A JSON object with any content: the open fields `metadata`, `payload`, `labels` (decisions.md). */
export const jsonObjectSchema: z.ZodType<JsonObject> = z.record(z.string(), json);

/** The same with every text, also the names of fields, as {@link storableText} makes it. */
export function storable<T>(value: T): T;
export function storable(value: unknown): unknown {
  if (typeof value === 'string') return storableText(value);
  if (Array.isArray(value)) return value.map((item: unknown) => storable(item));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, child]) => [storableText(key), storable<unknown>(child)]),
  );
}
