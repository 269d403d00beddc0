import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { CreateDocumentOptions } from 'zod-openapi';
import { textQuery } from '../../contract/queries.js';

type Rule = Exclude<CreateDocumentOptions['override'], undefined>;

/** The shapes of times; `format` says the rest. Zod's own pattern knows leap years, which nobody can read. */
const utcTime = '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:[0-5]\\d(\\.\\d+)?Z$';
const timeWithOffset = '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:[0-5]\\d(\\.\\d+)?(Z|[+-]\\d{2}:\\d{2})$';

/** Unicode property classes are unknown to the regular expressions of many languages; these say the same. */
const portableClasses: readonly (readonly [string, string])[] = [
  ['\\P{Cc}', '[^\\u0000-\\u001f\\u007f-\\u009f]'],
  ['\\p{Cc}', '[\\u0000-\\u001f\\u007f-\\u009f]'],
];

/** What the converter of zod cannot know about our schemas, and what readers need not know about it. */
const describe: Rule = ({ zodSchema, jsonSchema, io }) => {
  const { def } = zodSchema._zod;
  if (io === 'input' && def.type === 'pipe') {
    // A word or id in the query: the text of the parameter is what the schema behind it takes.
    if (def.in === textQuery) {
      delete jsonSchema.pattern;
      Object.assign(jsonSchema, z.toJSONSchema(def.out, { io: 'input', metadata: z.registry() }));
    }
    // The converter leaves the default of a transformed value out, but here it is a default of the parameter.
    // One that nobody may say is none.
    const fallback = z.globalRegistry.get(zodSchema)?.default;
    if (typeof fallback !== 'number' || fallback >= (jsonSchema.minimum ?? 0)) {
      if (fallback !== undefined) jsonSchema.default = fallback;
    }
  }
  describeText(zodSchema, jsonSchema);
  if (io === 'output' && jsonSchema.type === 'integer') dropSafeBounds(jsonSchema);
  if (isDeepStrictEqual(jsonSchema.propertyNames, { type: 'string' })) delete jsonSchema.propertyNames;
};

type JsonSchema = Parameters<Rule>[0]['jsonSchema'];

function describeText(zodSchema: Parameters<Rule>[0]['zodSchema'], jsonSchema: JsonSchema): void {
  const { pattern, format } = jsonSchema;
  if (format === 'date-time' && pattern !== undefined) {
    jsonSchema.pattern = pattern.includes('[+-]') ? timeWithOffset : utcTime;
  } else if (pattern !== undefined) {
    jsonSchema.pattern = portableClasses.reduce(
      (text, [ours, portable]) => text.replaceAll(ours, portable),
      pattern,
    );
  } else if (isTrimmed(zodSchema) && (jsonSchema.minLength ?? 0) > 0) {
    // The length counts after trimming.
    jsonSchema.pattern = '\\S';
  }
}

function isTrimmed({ _zod: { def } }: Parameters<Rule>[0]['zodSchema']): boolean {
  return def.checks?.some((check) => check._zod.def.check === 'overwrite') === true;
}

/** Every integer of zod is within what a double holds exactly; in an answer that says nothing. */
function dropSafeBounds(jsonSchema: JsonSchema): void {
  if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
}

/** How zod schemas become schemas of the document. The empty schema is right for JSON of any content, which is `lazy` to zod. */
export const schemaRules: CreateDocumentOptions = {
  override: describe,
  allowEmptySchema: { lazy: true },
};
