import { z } from 'zod';
import type { ZodOpenApiOperationObject, ZodOpenApiResponseObject } from 'zod-openapi';
import { idempotencyKeySchema } from '../../contract/commands.js';
import { ingestLimits } from '../../contract/ingest.js';
import type { Idempotency, RouteContract } from '../../contract/route-contract.js';
import { bodyLimits } from '../json-body.js';
import { bodyExamples } from './examples.js';
import { accessText, securityOf } from './security.js';

/** Parameters that are no part of a route's own schemas, as components of the document. */
export const parameters = {
  IdempotencyKey: idempotencyKeySchema.optional().meta({
    description:
      'Tells a repeat of this request from a new one: under the same key the same body is answered as the first time, another body is 409 `conflict`.',
    param: { in: 'header', name: 'Idempotency-Key' },
  }),
  LastEventId: z
    .string()
    .optional()
    .meta({
      description:
        'Id of the last event that the reader has seen: the stream goes on behind it. Beats `after`, which beats `start`; without any of them it begins with the first event.',
      param: { in: 'header', name: 'Last-Event-ID' },
    }),
};

const reference = (name: keyof typeof parameters) => ({ $ref: `#/components/parameters/${name}` });

const repeats: Readonly<Record<Idempotency, string>> = {
  safe: 'Reads only; may be repeated.',
  key: 'May be repeated with the same idempotency key.',
  natural: 'May be repeated: a repeat finds the thing as the first request left it.',
  none: 'Must not be repeated: every request has its own effect.',
};

/** One route as an operation of the document. */
export function operationOf(
  operationId: string,
  contract: RouteContract,
  responses: Record<string, ZodOpenApiResponseObject>,
): ZodOpenApiOperationObject {
  const body = requestBodyOf(operationId, contract);
  return {
    operationId,
    tags: [contract.tag],
    summary: contract.summary,
    description: `${accessText(contract.auth)} ${repeats[contract.idempotency]}`,
    ...securityOf(contract.auth),
    requestParams: { path: fieldsOf(contract.params), query: mayBeEmpty(fieldsOf(contract.query)) },
    ...(contract.idempotency === 'key' ? { parameters: [reference('IdempotencyKey')] } : {}),
    ...(contract.answers === 'event-stream' ? { parameters: [reference('LastEventId')] } : {}),
    ...(body === undefined ? {} : { requestBody: body }),
    responses,
  };
}

/** @throws TypeError for parameters that are no object: a defect of the contract. */
function fieldsOf(schema: z.ZodType): z.ZodObject {
  if (schema instanceof z.ZodObject) return schema;
  throw new TypeError('path and query parameters must be an object');
}

/** An empty parameter counts as absent (contract.md 1.5). */
function mayBeEmpty(query: z.ZodObject): z.ZodObject {
  return z.object(
    Object.fromEntries(
      Object.entries<z.ZodType>(query.shape).map(([name, schema]) => [
        name,
        schema.meta({ ...schema.meta(), param: { allowEmptyValue: true } }),
      ]),
    ),
  );
}

function requestBodyOf(
  operationId: string,
  { bodyKind, body }: RouteContract,
): ZodOpenApiOperationObject['requestBody'] {
  if (bodyKind === 'ndjson') {
    return {
      required: false,
      description: `Lines of JSON, each an \`IngestLine\`, and perhaps a last \`CompletionLine\`: at most ${ingestLimits.eventsPerRequest} of them, ${ingestLimits.lineBytes} bytes each and ${ingestLimits.requestBytes} in all.`,
      content: { 'application/x-ndjson': { schema: { type: 'string' } } },
    };
  }
  if (bodyKind !== 'json') return undefined;
  const mayBeAbsent = body.safeParse({}).success;
  const examples = bodyExamples[operationId];
  return {
    // An absent body counts as `{}`, and so does `null` (contract.md 1.5).
    required: !mayBeAbsent,
    description: `At most ${bodyLimits.bytes} bytes and ${bodyLimits.depth} levels.`,
    content: {
      'application/json': {
        schema: mayBeAbsent ? body.nullable() : body,
        ...(examples === undefined ? {} : { examples }),
      },
    },
  };
}
