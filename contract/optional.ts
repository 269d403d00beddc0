import type { z } from 'zod';

// Serializers write fields that are not set as null, and the old manager took null for absence (contract.md 3.3, 3.6.1, 5.8): so do all bodies.

/** A field of a body that may be left out; null says the same. */
export const optional = <Schema extends z.ZodType>(schema: Schema) =>
  schema
    .nullable()
    .transform((value) => value ?? undefined)
    .optional();

/** A field of a body that is `nominal` when it is left out or null. */
export const optionalOr = <Output extends string | number | boolean | object, Input>(
  schema: z.ZodType<Output, Input>,
  nominal: Output,
) =>
  schema
    .nullish()
    .transform((value) => value ?? nominal)
    .meta({ default: nominal });
