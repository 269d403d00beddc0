import { describe, expect, it } from 'vitest';
import { routeTable } from '../../api/routes/index.js';
import { okEnvelopeSchema } from '../../contract/envelope.js';
import type { ApiAnswer } from '../support/api.js';
import { framesIn } from '../support/stream-reader.js';
import { useApi } from '../support/use-api.js';
import { contractPairs, missingPairs } from './support/contract-index.js';
import { successes } from './support/route-fixtures.js';
import { ask, everyRoute, outcomeOf, pathOf } from './support/route-walk.js';

const { api, database } = await useApi({ pathPrefix: '/base' });
const world = { api, database };

/** What the headers say of a body: one envelope has a length, a stream has none. */
const describedBody = ({ headers }: ApiAnswer) => ({
  mediaType: headers.get('content-type'),
  hasLength: Number(headers.get('content-length')) > 0,
});
/** Names of what an answer holds: fields of the data, or frames. */
const fieldsOf = ({ body, text }: ApiAnswer): string[] =>
  body.ok ? Object.keys(Object(body.data)) : framesIn(text).map(({ frame }) => frame);

/** Ways to ask for the same; a stream refuses a query that it does not know (test/api/route-walk-input.test.ts). */
const variantsOf = (path: string, isStream: boolean): string[] => [
  `${path}/`,
  `/base${path}`,
  `/base/base${path}`,
  ...(isStream ? [] : [`${path}?unknown=1`]),
];

const pairOf = ({ method, path }: { method: string; path: string }) => `${method} ${path}`;

describe('the route table', () => {
  it('answers every route of the contract, once', () => {
    const implemented = routeTable(api.deps).map(({ operationId }) => operationId);
    expect(implemented.toSorted()).toEqual(everyRoute.map(({ id }) => id).toSorted());
    const pairs = everyRoute.map(({ contract }) => pairOf(contract));
    expect(new Set(pairs).size).toBe(pairs.length);
  });

  it('has the 62 pairs of the old manager, but for those that are listed as missing', () => {
    const pairs = new Set(everyRoute.map(({ contract }) => pairOf(contract)));
    expect(contractPairs.length).toBe(62);
    expect(contractPairs.filter((pair) => !pairs.has(pair))).toEqual(missingPairs);
  });
});

describe.each(everyRoute)('$id', (route) => {
  const { id, contract } = route;
  const isRead = contract.method === 'get';
  const blank = pathOf(contract);

  it('succeeds as its contract says', async () => {
    const { params, ...asked } = await successes[id](world);
    const path = pathOf(contract, params);
    const answer = await ask(api, route, path, asked);
    const isStream = contract.answers === 'event-stream';
    expect([answer.status, answer.text.slice(0, 300)]).toEqual([
      expect.toSatisfy((status: number) => contract.statuses.includes(status)),
      expect.stringMatching(isStream ? /^(?:id|event): / : /^\{"ok":true,/),
    ]);
    if (isStream) for (const frame of framesIn(answer.text)) contract.data.parse(frame);
    else okEnvelopeSchema(contract.data).parse(answer.body);
    if (!isRead) return;
    const head = await ask(api, route, path, { ...asked, method: 'HEAD' });
    expect([head.status, head.text, describedBody(head)]).toEqual([answer.status, '', describedBody(answer)]);
    for (const variant of variantsOf(path, isStream)) {
      const same = await ask(api, route, variant, asked);
      expect([variant, same.status, fieldsOf(same)]).toEqual([variant, answer.status, fieldsOf(answer)]);
    }
  });

  it('is the same with a slash, with the prefix once and twice, and but for streams with a query that it does not know', async () => {
    const plain = await ask(api, route, blank);
    for (const variant of variantsOf(blank, contract.answers === 'event-stream')) {
      const answer = await ask(api, route, variant);
      expect([variant, outcomeOf(answer)]).toEqual([variant, outcomeOf(plain)]);
      expect(Object.keys(answer.body)).toEqual(Object.keys(plain.body));
    }
  });

  it('answers OPTIONS and HEAD, and another method with 405 and Allow', async () => {
    const allowed = everyRoute.filter((other) => other.contract.path === contract.path);
    const methods = allowed.map((other) => other.contract.method.toUpperCase());
    const options = await ask(api, route, blank, { method: 'OPTIONS', token: null });
    expect([options.status, options.text]).toEqual([204, '']);
    const named = (options.headers.get('allow') ?? '').split(', ');
    expect(named.toSorted()).toEqual(
      [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].toSorted(),
    );
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND']) {
      if (named.includes(method)) continue;
      const answer = await ask(api, route, blank, { method });
      expect([method, answer.status, answer.headers.get('allow')]).toEqual([
        method,
        405,
        options.headers.get('allow'),
      ]);
      if (method !== 'HEAD') expect(answer.body.failureKind).toBe('method-not-allowed');
    }
    if (!isRead) return;
    const get = await ask(api, route, blank);
    const head = await ask(api, route, blank, { method: 'HEAD' });
    expect([head.status, head.text, describedBody(head)]).toEqual([get.status, '', describedBody(get)]);
  });
});
