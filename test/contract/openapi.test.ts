import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { bodyExamples } from '../../api/openapi/examples.js';
import { requestFailureKinds } from '../../contract/failure-kinds.js';
import { failuresOf, type RouteContract } from '../../contract/route-contract.js';
import { routes } from '../../contract/routes/index.js';
import { webhookMessageSchemas } from '../../contract/webhook-messages.js';
import { webhookEventTypes } from '../../contract/webhooks.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { openApiFile, openApiText } from '../support/openapi-file.js';

const referenceSchema = z.object({ $ref: z.string() });
const parameterSchema = z.object({
  name: z.string(),
  in: z.enum(['path', 'query', 'header']),
  required: z.boolean().optional(),
  schema: z.looseObject({}),
});
const operationSchema = z.object({
  operationId: z.string(),
  tags: z.array(z.string()).length(1),
  summary: z.string().min(1),
  description: z.string().min(1),
  security: z.array(z.record(z.string(), z.array(z.string()))),
  'x-agentrun-scope': z.string().optional(),
  parameters: z.array(z.union([parameterSchema, referenceSchema])).default([]),
  requestBody: z
    .object({ content: z.record(z.string(), z.looseObject({})), required: z.boolean() })
    .loose()
    .optional(),
  responses: z.record(
    z.string(),
    z.union([
      referenceSchema,
      z.looseObject({ description: z.string(), content: z.looseObject({}), headers: z.looseObject({}) }),
    ]),
  ),
});
const documentSchema = z.strictObject({
  openapi: z.literal('3.1.1'),
  info: z.looseObject({ title: z.string(), version: z.string() }),
  servers: z.array(z.looseObject({ url: z.string() })).min(1),
  externalDocs: z.looseObject({ url: z.string() }),
  tags: z.array(z.object({ name: z.string(), description: z.string() })),
  paths: z.record(z.string(), z.record(z.string(), operationSchema)),
  webhooks: z.record(
    z.string(),
    z.object({ post: operationSchema.pick({ summary: true, description: true, requestBody: true }).loose() }),
  ),
  components: z.record(
    z.enum(['schemas', 'parameters', 'headers', 'responses', 'securitySchemes']),
    z.record(z.string(), z.looseObject({})),
  ),
});

const text = openApiText();
const raw: unknown = JSON.parse(text);
const document = documentSchema.parse(raw);
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);
/** What every request may be refused with before a route is found: too slow, or with too much of headers. */
const beforeAnyRoute = ['request-timeout', 'headers-too-large'] as const;
const contracts: [string, RouteContract][] = Object.entries(routes);

function operationOf(operationId: string) {
  const found = operations.find(({ operation }) => operation.operationId === operationId);
  if (found === undefined) throw new Error(`the document has no operation ${operationId}`);
  return found;
}

/** Every value of a key in the document. */
function valuesOf(key: string, value: unknown): unknown[] {
  if (Array.isArray(value)) return value.flatMap((item) => valuesOf(key, item));
  if (typeof value !== 'object' || value === null) return [];
  const fields: [string, unknown][] = Object.entries(value);
  return fields.flatMap(([name, inner]) => [...(name === key ? [inner] : []), ...valuesOf(key, inner)]);
}

function resolved(reference: string): unknown {
  const steps = reference.replace(/^#\//, '').split('/');
  return steps.reduce<unknown>(
    (value, step) => (typeof value === 'object' && value !== null ? Reflect.get(value, step) : undefined),
    raw,
  );
}

describe('the OpenAPI document', () => {
  it('is docs/openapi.json (else run npm run openapi)', () => {
    expect(readFileSync(join(packageRoot(), openApiFile), 'utf8')).toBe(text);
  });

  it('refers to nothing that is not there, and has no component that nobody names', () => {
    const references = z.array(z.string()).parse(valuesOf('$ref', raw));
    expect(references.length).toBeGreaterThan(300);
    for (const reference of new Set(references)) {
      expect(reference).toMatch(/^#\/components\/[a-zA-Z]+\/[A-Za-z0-9._-]+$/);
      expect([reference, typeof resolved(reference)]).toEqual([reference, 'object']);
    }
    const unnamed = Object.keys(document.components.schemas ?? {}).filter(
      (name) => !/^[A-Z][A-Za-z]+$/.test(name) || name.endsWith('Output'),
    );
    expect(unnamed).toEqual([]);
  });

  it('has regular expressions that are valid without the ones of one language', () => {
    const patterns = z
      .array(z.string())
      .parse(valuesOf('pattern', raw).filter((value) => typeof value === 'string'));
    for (const pattern of patterns) {
      expect(() => new RegExp(pattern, 'u')).not.toThrow();
      expect(pattern).not.toMatch(/\\[pP]\{/);
    }
  });

  it('has each operation id and tag once, and describes all tags that are used', () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.toSorted()).toEqual(Object.keys(routes).toSorted());
    const used = new Set(operations.flatMap(({ operation }) => operation.tags));
    const described = document.tags.map(({ name }) => name);
    expect(described.toSorted()).toEqual([...used].toSorted());
  });

  it('has a message for each event of a webhook', () => {
    const words = z.union([z.object({ enum: z.array(z.string()) }), z.object({ const: z.string() })]);
    const types = Object.values(webhookMessageSchemas).flatMap(({ shape }) => {
      const said = words.parse(z.toJSONSchema(shape.type));
      return 'enum' in said ? said.enum : [said.const];
    });
    expect(types.toSorted()).toEqual([...webhookEventTypes, 'webhook.test'].toSorted());
    expect(Object.keys(document.webhooks)).toEqual(Object.keys(webhookMessageSchemas));
  });

  it('names the public address first, and where it was read from behind every prefix', () => {
    expect(document.servers.map(({ url }) => url)).toEqual(['./']);
  });
});

describe('an operation', () => {
  it.each(contracts)('%s is at its path, with its parameters and its body', (operationId, contract) => {
    const { path, method, operation } = operationOf(operationId);
    expect([method, path]).toEqual([contract.method, contract.path.replaceAll(/:(\w+)/g, '{$1}')]);
    const own = operation.parameters.filter((parameter) => 'in' in parameter);
    const inPath = own.filter((parameter) => parameter.in === 'path');
    expect(inPath.map(({ name }) => `{${name}}`)).toEqual(path.match(/\{\w+\}/g) ?? []);
    expect(inPath.every(({ required }) => required === true)).toBe(true);
    const query = own.filter((parameter) => parameter.in === 'query');
    const shape = contract.query instanceof z.ZodObject ? Object.keys(contract.query.shape) : [];
    expect(query.map(({ name }) => name)).toEqual(shape);
    for (const { schema } of own) expect(['string', 'integer']).toContain(schema.type);
    const hasKey = operation.parameters.some(
      (parameter) => '$ref' in parameter && parameter.$ref.endsWith('/IdempotencyKey'),
    );
    expect(hasKey).toBe(contract.idempotency === 'key');
    const mediaTypes = {
      json: ['application/json'],
      ndjson: ['application/x-ndjson'],
      none: [],
      ignored: [],
    };
    expect(Object.keys(operation.requestBody?.content ?? {})).toEqual(mediaTypes[contract.bodyKind]);
  });

  it.each(contracts)('%s has every status of its contract, and no other', (operationId, contract) => {
    const { operation } = operationOf(operationId);
    const refused = [...failuresOf(contract), ...beforeAnyRoute].map(
      (kind) => requestFailureKinds[kind].status,
    );
    expect(Object.keys(operation.responses)).toEqual(
      [...new Set([...contract.statuses, ...refused])].toSorted((left, right) => left - right).map(String),
    );
    for (const [status, response] of Object.entries(operation.responses)) {
      const { content, headers } = z
        .object({ content: z.record(z.string(), z.unknown()), headers: z.record(z.string(), z.unknown()) })
        .parse('$ref' in response ? resolved(z.string().parse(response.$ref)) : response);
      const isSuccess = status === '200';
      expect(Object.keys(content)).toEqual(
        isSuccess
          ? [contract.answers === 'event-stream' ? 'text/event-stream' : 'application/json']
          : ['application/json', 'application/problem+json'],
      );
      const expected = { 401: ['WWW-Authenticate'], 429: ['Retry-After'], 503: ['Retry-After'] };
      expect(Object.keys(headers)).toEqual([
        'X-Trace-Id',
        ...(Object.entries(expected).find(([other]) => other === status)?.[1] ?? []),
      ]);
    }
  });

  it.each(contracts)('%s names the tokens and the scope that it takes', (operationId, { auth }) => {
    const { operation } = operationOf(operationId);
    const schemes = operation.security.flatMap((requirement) => Object.keys(requirement));
    expect(schemes.every((name) => name in (document.components.securitySchemes ?? {}))).toBe(true);
    if (auth === 'none') expect(operation.security).toEqual([]);
    else {
      expect(operation['x-agentrun-scope']).toBe(auth.api);
      expect(schemes).toEqual(
        [
          auth.api === undefined ? '' : 'apiToken',
          auth.launch === true ? 'launchToken' : '',
          auth.runner === true ? 'runnerToken' : '',
          auth.run === true ? 'runToken' : '',
        ].filter((name) => name !== ''),
      );
    }
  });

  it('of a list shows words and ids as what they are, and numbers with their default', () => {
    const { operation } = operationOf('listRuns');
    const schemas = new Map(
      operation.parameters.flatMap((parameter) =>
        'in' in parameter ? [[parameter.name, parameter.schema] as const] : [],
      ),
    );
    expect(schemas.get('limit')).toEqual({ type: 'integer', minimum: 1, maximum: 500, default: 50 });
    expect(schemas.get('status')).toMatchObject({
      type: 'string',
      enum: ['pending', 'claimed', 'running', 'completed', 'failed', 'blocked', 'cancelled'],
    });
    expect(schemas.get('sessionId')).toMatchObject({ pattern: '^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$' });
  });
});

describe('the examples', () => {
  const examples = Object.entries(bodyExamples).flatMap(([operationId, ofOperation]) =>
    Object.entries(ofOperation).map(([name, { value }]) => ({ operationId, name, value })),
  );

  it.each(examples)('$operationId: $name is a body of its route', ({ operationId, value }) => {
    const contract = contracts.find(([id]) => id === operationId)?.[1];
    expect(contract?.body.safeParse(value)).toMatchObject({ success: true });
  });
});
