import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { type ApiClient, type CallOptions, createApiClient, RawBody } from '../../client/index.js';
import type { RouteContract } from '../../contract/route-contract.js';
import { routes } from '../../contract/routes/index.js';

const baseUrls = [
  'http://api.test',
  'http://api.test/',
  'https://gate.test/agentrun',
  'https://gate.test/agentrun/',
];
const contracts: [string, RouteContract][] = Object.entries(routes);

interface Sent {
  readonly method: string | undefined;
  readonly url: string;
  readonly headers: Headers;
  readonly body: unknown;
}

/** A client whose requests are kept and answered with `data`. */
function recording(baseUrl: string, data: unknown = {}) {
  const sent: Sent[] = [];
  const client = createApiClient({
    baseUrl,
    token: () => 'token-1',
    fetch: (input, init) => {
      const url = input instanceof Request ? input.url : input.toString();
      sent.push({ method: init?.method, url, headers: new Headers(init?.headers), body: init?.body });
      return Promise.resolve(Response.json({ ok: true, data, traceId: 't' }));
    },
  });
  return { client, sent };
}

/** The parameters of a path, each with a value that must be encoded. */
function paramsOf(path: string, value: string): Record<string, string> {
  return Object.fromEntries([...path.matchAll(/:(\w+)/g)].map(([, name]) => [name ?? '', value]));
}

/** The route as one that answers anything, so that one table holds all of them. */
const anyData = (contract: RouteContract) => ({
  ...contract,
  params: z.record(z.string(), z.string()),
  query: z.object({}),
  body: z.unknown(),
  data: z.unknown(),
});

describe('a call of each route', () => {
  it.each(contracts)('%s goes to its path below every base, with its method', async (_id, contract) => {
    for (const baseUrl of baseUrls) {
      const { client, sent } = recording(baseUrl);
      await client.call(anyData(contract), { params: paramsOf(contract.path, 'a/b c') });
      const path = contract.path.replaceAll(/:\w+/g, 'a%2Fb%20c');
      expect(sent).toHaveLength(1);
      expect(sent[0]).toMatchObject({
        method: contract.method.toUpperCase(),
        url: `${baseUrl.replace(/\/$/, '')}${path}`,
      });
      expect(sent[0]?.headers.get('authorization')).toBe('Bearer token-1');
    }
  });

  const withParams = contracts.filter(([, { path }]) => path.includes('/:'));
  it.each(withParams)('%s refuses a parameter that would lead to another route', async (_id, contract) => {
    for (const value of ['', '.', '..', undefined]) {
      const { client, sent } = recording('http://api.test');
      const params = value === undefined ? {} : paramsOf(contract.path, value);
      await expect(client.call(anyData(contract), { params })).rejects.toThrow(TypeError);
      expect(sent).toEqual([]);
    }
  });
});

describe('query and body', () => {
  it('writes what is given into the query, and leaves out what is not', async () => {
    const { client, sent } = recording('http://api.test', { items: [], nextCursor: null, hasMore: false });
    await client.call(routes.listRuns, {
      query: { limit: 5, status: 'running', cursor: undefined, labels: 'team=web,urgent' },
    });
    expect(sent[0]?.url).toBe(
      'http://api.test/api/v1/runs?limit=5&status=running&labels=team%3Dweb%2Curgent',
    );
    expect([sent[0]?.body, sent[0]?.headers.get('content-type')]).toEqual([undefined, null]);
  });

  it('sends a body as JSON, and a raw one as it is', async () => {
    const { client, sent } = recording('http://api.test', { accepted: 0, duplicate: 0, lastAcceptedSeq: 0 });
    const params = { runId: 'run_1' };
    const lines = new RawBody('application/x-ndjson', '{"seq":1}\n');
    await client.call(routes.ingestEvents, { params, query: { spilledEpoch: 2 }, body: lines });
    const put = { ...routes.cancelRun, data: z.unknown() };
    await client.call(put, { params, body: { reason: 'enough' } });
    await client.call(put, { params, body: RawBody.json({ waitMs: 'soon' }) });
    expect(sent.map(({ body, headers }) => [headers.get('content-type'), body])).toEqual([
      ['application/x-ndjson', '{"seq":1}\n'],
      ['application/json', '{"reason":"enough"}'],
      ['application/json', '{"waitMs":"soon"}'],
    ]);
    expect(sent[0]?.url).toBe('http://api.test/api/v1/runs/run_1/ingest?spilledEpoch=2');
  });
});

describe('an answer', () => {
  const mark = { sessionId: 's', readerId: 'me', runId: null, readAt: '2026-01-01T00:00:00Z' };
  const call = (data: unknown, options: CallOptions = {}) =>
    recording('http://api.test', data).client.call(
      routes.readSession,
      { params: { sessionId: 's' }, body: {} },
      options,
    );

  it('is the data of the envelope; what later versions add is left out', async () => {
    expect(await call({ ...mark, added: 1 })).toEqual(mark);
  });

  it('that does not fit the contract is an error that names the field', async () => {
    await expect(call({ ...mark, runId: 7 })).rejects.toMatchObject({
      reason: 'invalid-answer',
      message: expect.stringMatching(/^POST \/api\/v1\/sessions\/s\/read: .*runId: /),
    });
  });
});

describe('a call that does not fit its route', () => {
  // Never run: the compiler refuses each.
  const wrong = (client: ApiClient) => [
    // @ts-expect-error the parameter is missing
    client.call(routes.getRun, {}),
    // @ts-expect-error the parameter has another name
    client.call(routes.getRun, { params: { sessionId: 's' } }),
    // @ts-expect-error the route has no such query
    client.call(routes.listRuns, { query: { colour: 'red' } }),
    // @ts-expect-error the body is missing
    client.call(routes.createSession, {}),
    // @ts-expect-error the field is of another type
    client.call(routes.cancelRun, { params: { runId: 'run_1' }, body: { waitMs: 'soon' } }),
  ];

  it('is no program', () => {
    expect(wrong).toBeTypeOf('function');
  });
});
