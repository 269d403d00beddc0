import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import protobuf from 'protobufjs';
import { z } from 'zod';

/** What a test looks at of OTLP's `ExportTraceServiceRequest`. */
const schema = `
syntax = "proto3";
message Request { repeated ResourceSpans resource_spans = 1; }
message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
message Resource { repeated KeyValue attributes = 1; }
message ScopeSpans { repeated Span spans = 2; }
message Span {
  bytes trace_id = 1; bytes span_id = 2; bytes parent_span_id = 4; string name = 5;
  repeated KeyValue attributes = 9; Status status = 15;
}
message KeyValue { string key = 1; AnyValue value = 2; }
message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; } }
message Status { string message = 2; int32 code = 3; }
`;
const requestType = protobuf.parse(schema).root.lookupType('Request');

const attributesSchema = z
  .array(
    z.object({
      key: z.string(),
      value: z
        .object({
          stringValue: z.string().optional(),
          boolValue: z.boolean().optional(),
          intValue: z.coerce.number().optional(),
          doubleValue: z.number().optional(),
        })
        .default({}),
    }),
  )
  .default([])
  .transform((pairs) =>
    Object.fromEntries(
      pairs.map(({ key, value }) => [
        key,
        value.stringValue ?? value.boolValue ?? value.intValue ?? value.doubleValue ?? null,
      ]),
    ),
  );

const hex = z
  .string()
  .default('')
  .transform((base64) => Buffer.from(base64, 'base64').toString('hex'));

const exportSchema = z.object({
  resourceSpans: z
    .array(
      z.object({
        resource: z.object({ attributes: attributesSchema }),
        scopeSpans: z.array(
          z.object({
            spans: z.array(
              z.object({
                traceId: hex,
                spanId: hex,
                parentSpanId: hex,
                name: z.string(),
                attributes: attributesSchema,
                status: z.object({ code: z.number().default(0), message: z.string().default('') }).default({
                  code: 0,
                  message: '',
                }),
              }),
            ),
          }),
        ),
      }),
    )
    .default([]),
});

/** A span that arrived. `parentSpanId` is empty for a root. */
export interface ReceivedSpan {
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  readonly attributes: Readonly<Record<string, string | number | boolean | null>>;
  /** `code` 2: error. */
  readonly status: { readonly code: number; readonly message: string };
}

/** A collector of spans over OTLP/HTTP, as far as a test needs one. */
export interface OtlpReceiver {
  readonly url: string;
  readonly spans: ReceivedSpan[];
  /** Every body as it came. */
  readonly bodies: Buffer[];
  close(): Promise<void>;
}

/** Listens on a free port of loopback. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const bodies: Buffer[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks);
      bodies.push(body);
      spans.push(...decode(body));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === 'string') throw new Error('no TCP port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    spans,
    bodies,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await Promise.resolve();
    },
  };
}

function decode(body: Buffer): ReceivedSpan[] {
  const message = requestType.toObject(requestType.decode(body), { bytes: String, longs: Number });
  return exportSchema
    .parse(message)
    .resourceSpans.flatMap(({ resource, scopeSpans }) =>
      scopeSpans.flatMap((scope) =>
        scope.spans.map((span) => ({ ...span, service: String(resource.attributes['service.name']) })),
      ),
    );
}
