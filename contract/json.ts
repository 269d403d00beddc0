import { z } from 'zod';

export type JsonValue = string | number | boolean | null | JsonValue[] | { [key: string]: JsonValue };
export type JsonObject = { [key: string]: JsonValue };

/** Any JSON value. */
export const jsonValueSchema: z.ZodType<JsonValue> = z.json();

/** A JSON object with any content: the open fields `metadata`, `payload`, `labels` (decisions.md). */
export const jsonObjectSchema: z.ZodType<JsonObject> = z.record(z.string(), z.json());
