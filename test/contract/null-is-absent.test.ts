import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { RouteContract } from '../../contract/route-contract.js';
import { routes } from '../../contract/routes/index.js';
import { createSessionSchema, sendSchema } from '../../contract/sessions.js';

type Schema = z.core.JSONSchema.BaseSchema;
const definitions = z.record(z.string(), z.unknown());

/** The paths of all fields of a body that may be left out and yet take no null. */
function fieldsWithoutNull(body: z.ZodType): string[] {
  const root: Schema = z.toJSONSchema(body, { io: 'input', unrepresentable: 'any' });
  const found: string[] = [];
  const resolved = (schema: Schema): Schema => {
    const name = schema.$ref?.split('/').at(-1);
    const target = name === undefined ? undefined : root.$defs?.[name];
    return target === undefined ? schema : resolved(target);
  };
  const optionsOf = (schema: Schema): Schema[] => {
    const { anyOf, oneOf } = resolved(schema);
    const inner = [...(anyOf ?? []), ...(oneOf ?? [])].filter((one) => typeof one !== 'boolean');
    return inner.length === 0 ? [resolved(schema)] : inner.flatMap(optionsOf);
  };
  const walk = (schema: Schema, path: string): void => {
    for (const option of optionsOf(schema)) {
      for (const [name, field] of Object.entries(option.properties ?? {})) {
        if (typeof field === 'boolean') continue;
        const at = path === '' ? name : `${path}.${name}`;
        const takesAll = Object.keys(definitions.parse(resolved(field))).every((key) =>
          ['default', 'description'].includes(key),
        );
        const takesNull = takesAll || optionsOf(field).some(({ type }) => [type].flat().includes('null'));
        if (!(option.required ?? []).includes(name) && !takesNull) found.push(at);
        walk(field, at);
      }
    }
  };
  walk(root, '');
  return found;
}

const contracts: readonly (readonly [string, RouteContract])[] = Object.entries(routes);
const withBody = contracts.filter(([, { bodyKind }]) => bodyKind === 'json');

describe('null in a body', () => {
  it.each(withBody)('%s: each field that may be left out takes it', (_operation, { body }) => {
    expect(fieldsWithoutNull(body)).toEqual([]);
  });

  it('means what absence means', () => {
    const owner = { tenantId: 'acme', projectId: 'web' };
    const nulls = {
      sessionId: null,
      backendProfile: null,
      codexRolloutSubdir: null,
      expiresAt: null,
      metadata: null,
      workspace: { repository: 'https://example.org/r.git', ref: null },
      executionPolicy: { leaseMs: null },
    };
    const parsed = createSessionSchema.parse({ ...owner, ...nulls });
    expect(JSON.parse(JSON.stringify(parsed))).toEqual({
      ...owner,
      backendProfile: 'codex',
      codexRolloutSubdir: 'sessions',
      workspace: { repository: 'https://example.org/r.git' },
      executionPolicy: {},
    });
    const said = { payload: null, prompt: 'go', message: null, dryRun: null, createRunnerJob: null };
    const run = { ...owner, sessionRef: null, providerId: null };
    expect(JSON.parse(JSON.stringify(sendSchema.parse({ ...said, run })))).toEqual({
      prompt: 'go',
      dryRun: false,
      createRunnerJob: true,
      whenBusy: 'steer',
      run: owner,
    });
  });

  it('is no value for what is required', () => {
    expect(createSessionSchema.safeParse({ tenantId: null, projectId: 'web' }).success).toBe(false);
    expect(sendSchema.safeParse({ prompt: null }).success).toBe(false);
  });
});
