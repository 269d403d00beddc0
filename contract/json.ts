import { z } from 'zod';

export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue };
export type JsonObject = { [key: string]: JsonValue };

const json = z.json();
// Its own definition refers to itself; readers of a JSON Schema are told the same by the empty one.
json._zod.toJSONSchema = () => ({});

/** Any JSON value. */
export const jsonValueSchema: z.ZodType<JsonValue> = json;

/** A JSON object with any content: the open fields `metadata`, `payload`, `labels` (decisions.md). */
export const jsonObjectSchema: z.ZodType<JsonObject> = z.record(z.string(), json);
