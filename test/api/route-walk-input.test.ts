import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { RouteContract } from '../../contract/route-contract.js';
import type { OperationId } from '../../contract/routes/index.js';
import { useApi } from '../support/use-api.js';
import { successes } from './support/route-fixtures.js';
import { ask, everyRoute, outcomeOf, pathOf } from './support/route-walk.js';

const { api, database } = await useApi();
const world = { api, database };

/** What runners say of themselves and their work: old ones say more than is looked at (contract.md 5.8, 6). */
const openBodies: readonly OperationId[] = [
  'registerRunner',
  'claimRun',
  'renewLease',
  'appendEvent',
  'finishAttempt',
  'finishCommand',
];

/** Values that parameters refuse; each parameter must refuse at least one of them. */
const wrongValues = [
  'abc',
  '-1',
  '1.5',
  '1e3',
  '99999999999999999999',
  'not a word',
  'x'.repeat(2_500),
  'a\u0001b',
];

function shapeOf(schema: z.ZodType): Record<string, z.ZodType> {
  if (!(schema instanceof z.ZodObject)) throw new Error('a query or the ids of a path are an object');
  const shape = z.record(
    z.string(),
    z.custom<z.ZodType>((value) => value instanceof z.ZodType),
  );
  return shape.parse(schema.shape);
}

const isRefused = (schema: z.ZodType, value: unknown) => !schema.safeParse(value).success;
const wrongQueries = (contract: RouteContract) =>
  Object.entries(shapeOf(contract.query)).flatMap(([name, schema]) => {
    const wrong = wrongValues.filter((value) => isRefused(schema, value));
    return (wrong.length === 0 ? [''] : wrong).map((value) => ({ name, value }));
  });

const withQuery = everyRoute.filter(({ contract }) => wrongQueries(contract).length > 0);
const streams = everyRoute.filter(({ contract }) => contract.answers === 'event-stream');
const withIds = everyRoute.filter(({ contract }) => contract.path.includes('/:'));
const withJson = everyRoute.filter(({ contract }) => contract.bodyKind === 'json');
const withBody = everyRoute.filter(({ contract }) => contract.bodyKind !== 'none');

describe.each(withQuery)('the query of $id', (route) => {
  const { id, contract } = route;
  it.each(wrongQueries(contract))('refuses $name=$value', async ({ name, value }) => {
    const { params, token } = await successes[id](world);
    const path = `${pathOf(contract, params)}?${new URLSearchParams({ [name]: value }).toString()}`;
    const answer = await ask(api, route, path, token === undefined ? {} : { token });
    expect([value, outcomeOf(answer)]).toEqual([value, '400 schema-invalid']);
    expect(answer.body.message).toContain(`query.${name}: `);
  });
});

describe.each(streams)('the query of $id', (route) => {
  const { id, contract } = route;
  const refused = async (query: string): Promise<string> => {
    const { params, token } = await successes[id](world);
    const path = `${pathOf(contract, params)}?${query}`;
    const answer = await ask(api, route, path, token === undefined ? {} : { token });
    expect([query, outcomeOf(answer)]).toEqual([query, '400 schema-invalid']);
    return String(answer.body.message);
  };

  it('names what nobody knows', async () => {
    expect(await refused('afterr=39')).toBe('query.afterr: no such parameter (received text)');
  });

  it('names what is said twice', async () => {
    for (const query of ['after=1&after=2', 'after=1&after=1', 'after=&after=1']) {
      expect(await refused(query)).toBe('query.after: expected one value (received more than one)');
    }
    expect(await refused('start=latest&x=1&start=latest&x=2')).toBe(
      'query.start: expected one value (received more than one); query.x: expected one value (received more than one)',
    );
  });
});

describe.each(withIds)('the path of $id', (route) => {
  const { contract } = route;
  const names = Object.keys(shapeOf(contract.params));
  it('has the ids that its schema names', () => {
    expect([...contract.path.matchAll(/:(\w+)/g)].map(([, name]) => name)).toEqual(names);
  });

  it.each(names)('refuses a malformed %s', async (name) => {
    const { token } = await successes[route.id](world);
    for (const value of ['has space', 'x'.repeat(300), '..%2f', '%F0%9F%98%80']) {
      const path = pathOf(contract, { [name]: encodeURIComponent(value) });
      const answer = await ask(api, route, path, token === undefined ? {} : { token });
      const schema = shapeOf(contract.params)[name] ?? z.never();
      // An id of any shape that belongs to a token is another runner's.
      const expected = isRefused(schema, value) ? '400 schema-invalid' : expect.stringMatching(/^40[034] /);
      expect([value, outcomeOf(answer)]).toEqual([value, expected]);
    }
  });
});

describe.each(withBody)('the body of $id', (route) => {
  const { id, contract } = route;
  const options = async (body: unknown) => {
    const { params, ...asked } = await successes[id](world);
    return { path: pathOf(contract, params), asked: { ...asked, body } };
  };

  it('is refused when it is no JSON', async () => {
    for (const text of ['{"a":', '{} {}', 'null x', "{'a':1}", '{"a":1,}']) {
      const { path, asked } = await options(text);
      const answer = await ask(api, route, path, asked);
      expect([text, outcomeOf(answer)]).toEqual([text, '400 schema-invalid']);
      expect(answer.body.message).toMatch(/^(body|line 1): expected JSON/);
    }
  });

  it('is refused with another media type', async () => {
    const { path, asked } = await options('{}');
    const answer = await ask(api, route, path, { ...asked, headers: { 'content-type': 'text/plain' } });
    expect(outcomeOf(answer)).toBe('415 unsupported-media-type');
  });
});

describe.each(withJson)('the fields of $id', (route) => {
  const { id, contract } = route;
  const sent = async (change: (body: object) => unknown) => {
    const { params, ...asked } = await successes[id](world);
    const body = change(Object(asked.body ?? {}));
    return ask(api, route, pathOf(contract, params), { ...asked, body });
  };

  // `null` counts as an absent body (contract.md 1.5).
  it.each([[[]], ['"text"'], ['7'], ['true']])('are no fields of %j', async (body) => {
    expect(outcomeOf(await sent(() => body))).toBe('400 schema-invalid');
  });

  it('that are required are named', async () => {
    const issues = contract.body.safeParse({}).error?.issues ?? [];
    const answer = await sent(() => ({}));
    if (issues.length > 0) expect(outcomeOf(answer)).toBe('400 schema-invalid');
    for (const { path } of issues) expect(answer.body.message).toContain(path.map(String).join('.'));
  });

  it('that nobody knows are named', async () => {
    const answer = await sent((body) => ({ ...body, unknownField: 1 }));
    if (openBodies.includes(id)) expect(answer.status).toBe(200);
    else {
      expect(outcomeOf(answer)).toBe('400 schema-invalid');
      expect(answer.body.message).toContain('unknownField: no such field');
    }
  });
});
