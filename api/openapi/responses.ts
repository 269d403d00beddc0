import { z } from 'zod';
import type { ZodOpenApiResponseObject } from 'zod-openapi';
import { errorEnvelopeSchema, okEnvelopeSchema } from '../../contract/envelope.js';
import {
  isRequestFailureKind,
  type RequestFailureKind,
  requestFailureKinds,
} from '../../contract/failure-kinds.js';
import { problemMediaType, problemSchema } from '../../contract/problem.js';
import { failuresOf, type RouteContract } from '../../contract/route-contract.js';

/** Headers of answers, as components of the document. */
export const headers = {
  TraceId: {
    description: 'Finds the request in logs and traces; also in the envelope.',
    required: true,
    schema: { type: 'string' },
  },
  RetryAfter: {
    description: 'Seconds after which the request may be sent again.',
    schema: { type: 'integer', minimum: 0 },
  },
  WwwAuthenticate: {
    description: 'How to authenticate (RFC 6750).',
    required: true,
    schema: { type: 'string' },
  },
} as const;

const header = (name: keyof typeof headers) => ({ $ref: `#/components/headers/${name}` });
const traceId = { 'X-Trace-Id': header('TraceId') };

/** What every request may be refused with before a route is found: api/broken-requests.ts. */
const beforeAnyRoute: readonly RequestFailureKind[] = ['request-timeout', 'headers-too-large'];

/** Makes the answers of routes; refusals are shared by the operations of one document. */
export function createResponses(): (contract: RouteContract) => Record<string, ZodOpenApiResponseObject> {
  const shared = new Map<string, ZodOpenApiResponseObject>();
  const refusalOf = (status: number, kinds: readonly RequestFailureKind[]): ZodOpenApiResponseObject => {
    const id = kinds.map(pascalCase).join('Or');
    const refusal = shared.get(id) ?? refusalResponse(id, status, kinds);
    shared.set(id, refusal);
    return refusal;
  };
  return (contract) => {
    const isStream = contract.answers === 'event-stream';
    const success = okEnvelopeSchema(contract.data);
    const refusals = kindsByStatus(new Set([...failuresOf(contract), ...beforeAnyRoute])).map(
      ([status, kinds]) => [status, refusalOf(status, kinds)] as const,
    );
    return {
      ...Object.fromEntries(refusals),
      // The answer of a readiness that is not given shares its status with a refusal.
      ...Object.fromEntries(
        contract.statuses.map((status) => [
          status,
          isStream
            ? streamResponse(contract.data)
            : status === 200
              ? successResponse(success)
              : notReadyResponse(z.union([success, errorEnvelopeSchema])),
        ]),
      ),
    };
  };
}

function successResponse(schema: z.ZodType): ZodOpenApiResponseObject {
  return { description: 'OK.', headers: traceId, content: { 'application/json': { schema } } };
}

/** OpenAPI 3.1 has no words for the frames of a body: its schema is that of one of them. */
function streamResponse(frame: z.ZodType): ZodOpenApiResponseObject {
  return {
    description:
      'Server-sent events until a frame `stream-end`, `rotated` or `error`. The schema is of one frame: `frame` is its event name, `event` where it has none; `data` is JSON.',
    headers: traceId,
    content: { 'text/event-stream': { schema: frame } },
  };
}

function notReadyResponse(schema: z.ZodType): ZodOpenApiResponseObject {
  return {
    description: 'Not ready: the answer says what is missing.',
    headers: { ...traceId, 'Retry-After': header('RetryAfter') },
    content: { 'application/json': { schema }, [problemMediaType]: { schema: problemSchema } },
  };
}

function refusalResponse(
  id: string,
  status: number,
  kinds: readonly RequestFailureKind[],
): ZodOpenApiResponseObject {
  return {
    id,
    description: kinds
      .map((kind) => `\`${kind}\`: ${requestFailureKinds[kind].meaning} ${requestFailureKinds[kind].cure}`)
      .join('\n\n'),
    headers: {
      ...traceId,
      ...(status === 401 ? { 'WWW-Authenticate': header('WwwAuthenticate') } : {}),
      ...(status === 429 || status === 503 ? { 'Retry-After': header('RetryAfter') } : {}),
    },
    content: {
      'application/json': { schema: errorEnvelopeSchema },
      [problemMediaType]: { schema: problemSchema },
    },
  };
}

/** In the order of the registry. */
function kindsByStatus(
  kinds: ReadonlySet<RequestFailureKind>,
): (readonly [number, readonly RequestFailureKind[]])[] {
  const byStatus = new Map<number, RequestFailureKind[]>();
  for (const kind of requestFailureKindNames.filter((name) => kinds.has(name))) {
    const { status } = requestFailureKinds[kind];
    byStatus.set(status, [...(byStatus.get(status) ?? []), kind]);
  }
  return [...byStatus];
}

const requestFailureKindNames = Object.keys(requestFailureKinds).filter(isRequestFailureKind);

function pascalCase(words: string): string {
  return words
    .split('-')
    .map((word) => `${word.charAt(0).toUpperCase()}${word.slice(1)}`)
    .join('');
}
