import { describe, expect, it } from 'vitest';
import {
  type ApiClientOptions,
  createApiClient,
  errorText,
  StreamExhausted,
  type StreamOptions,
  type StreamState,
} from '../../client/index.js';
import { streamRoutes } from '../../contract/routes/streams.js';
import type { RunStreamFrame } from '../../contract/streams.js';
import { scriptedSseServer, terminalEvent, type Visit } from './scripted-sse-server.js';

const token = 'agr_0123456789abcdef0123';

interface Reading {
  readonly place?: { readonly after?: string; readonly start?: 'latest' };
  readonly how?: StreamOptions;
  readonly client?: Partial<ApiClientOptions>;
  readonly runId?: string;
}

/** A stream of a scripted server. */
function open(url: string, { place = {}, how = {}, client = {}, runId = 'run_1' }: Reading = {}) {
  return createApiClient({ baseUrl: url, token: () => token, ...client }).stream(
    streamRoutes.streamRun,
    { params: { runId }, ...place },
    how,
  );
}

/** A frame in short: `1` of an event, `caught-up 3`, `gap 1-2`, `end completed`. */
function short(frame: RunStreamFrame): string {
  switch (frame.frame) {
    case 'event':
      return frame.id;
    case 'caught-up':
      return `caught-up ${frame.data.seq}`;
    case 'gap':
      return `gap ${frame.data.from}-${frame.data.to}`;
    case 'delta':
      return `delta ${frame.data.text}`;
    case 'stream-end':
      return `end ${frame.data.status}`;
    case 'keepalive':
    case 'rotated':
    case 'error':
      return frame.frame;
  }
}

async function all(frames: AsyncIterable<RunStreamFrame>): Promise<string[]> {
  const seen: string[] = [];
  for await (const frame of frames) seen.push(short(frame));
  return seen;
}

const lastEventIds = (visits: readonly Visit[]) => visits.map(({ headers }) => headers['last-event-id']);

describe('a stream', () => {
  it('is the events until stream-end, and nothing is asked for afterwards', async () => {
    const server = await scriptedSseServer((visit) =>
      visit.event(1).caughtUp(1).frame('keepalive', {}).event(2).streamEnd(2),
    );
    expect(await all(open(server.url))).toEqual(['1', 'caught-up 1', '2', 'end completed']);
    expect(server.visits).toHaveLength(1);
    expect(server.visits[0]?.headers).toMatchObject({
      accept: 'text/event-stream',
      authorization: `Bearer ${token}`,
    });
  });

  it('asks for nothing before its first frame is asked for', async () => {
    const server = await scriptedSseServer((visit) => visit.streamEnd(0));
    const frames = open(server.url);
    await frames.return(undefined);
    expect(server.visits).toEqual([]);
  });

  it('skips frames of later versions, and hands on gaps and deltas', async () => {
    const server = await scriptedSseServer((visit) =>
      visit
        .frame('gap', { from: 1, to: 4, reason: 'retention' })
        .event(5)
        .frame('weather', { sun: true })
        .frame('delta', { itemId: 'i', offset: 0, text: 'Hel' })
        .caughtUp(5)
        .streamEnd(5),
    );
    expect(await all(open(server.url))).toEqual([
      'gap 1-4',
      '5',
      'delta Hel',
      'caught-up 5',
      'end completed',
    ]);
  });

  it.each(['a/b', 'a?b', 'a&b', 'a#b', 'a%2Fb', 'a b', 'run ünï✓', '%', 'a/../b', 'a\\b'])(
    'of the run %j asks for exactly one segment (requirements.md A.1.b 19)',
    async (runId) => {
      const server = await scriptedSseServer((visit) => visit.streamEnd(0));
      await all(open(server.url, { runId }));
      const path = server.visits[0]?.url ?? '';
      const match = /^\/api\/v1\/runs\/([^/?#]+)\/stream$/.exec(path);
      expect(decodeURIComponent(match?.[1] ?? '')).toBe(runId);
    },
  );

  it.each(['', '.', '..'])('of the run %j is refused at once', (runId) => {
    expect(() => open('http://127.0.0.1:1', { runId })).toThrow(TypeError);
  });

  it('is typed as its route', () => {
    const client = createApiClient({ baseUrl: 'http://api.test', token: () => '' });
    // Never run: the compiler refuses each.
    const wrong = () => [
      // @ts-expect-error the parameter is missing
      client.stream(streamRoutes.streamRun, {}),
      // @ts-expect-error the parameter has another name
      client.stream(streamRoutes.streamRun, { params: { sessionId: 's' } }),
      // @ts-expect-error there is no such start
      client.stream(streamRoutes.streamFeed, { start: 'first' }),
    ];
    expect(wrong).toBeTypeOf('function');
  });
});

describe.concurrent('the end of a connection', () => {
  it('without stream-end is no end, clean or not: it is connected anew with the cursor (33)', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.event(1).event(2).close(),
      (visit) => visit.event(3).raw('id: 4\ndata: {"seq":4').cut(),
      (visit) => visit.event(4).caughtUp(4).streamEnd(4),
    );
    expect(await all(open(server.url))).toEqual(['1', '2', '3', '4', 'caught-up 4', 'end completed']);
    expect(lastEventIds(server.visits)).toEqual([undefined, '2', '3']);
  });

  it('after a terminal status is no end either: what follows is delivered (33, 40)', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.event(1, terminalEvent).close(),
      (visit) => visit.event(2).streamEnd(2),
    );
    expect(await all(open(server.url))).toEqual(['1', '2', 'end completed']);
  });

  it('that was told before comes back at once, and costs no attempt (32)', async () => {
    const rotations = 12;
    const rotate = (visit: Visit) => visit.event(visit.number + 1).frame('rotated', { reason: 'age' });
    const server = await scriptedSseServer(...Array.from({ length: 3 }, () => rotate), (visit) =>
      visit.streamEnd(rotations),
    );
    const states: StreamState[] = [];
    const frames = open(server.url, {
      how: { budget: { attemptsInARow: 0, attemptsInAll: 0 }, onState: (state) => states.push(state) },
    });
    const startedAt = performance.now();
    expect(await all(frames)).toEqual(['1', '2', '3', 'end completed']);
    // Four connections at most 200, 400 and 800 ms apart.
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(states.map(({ kind }) => kind)).toEqual(Array.from({ length: 4 }, () => 'connected'));
    expect(lastEventIds(server.visits)).toEqual([undefined, '1', '2', '3']);
  });

  it('in silence is noticed by the client, before and after the answer (31)', async () => {
    const server = await scriptedSseServer(
      () => undefined,
      (visit) => visit.event(1),
      (visit) => visit.event(2).streamEnd(2),
    );
    const errors: unknown[] = [];
    const onState = (state: StreamState) => state.kind === 'waiting' && errors.push(state.error);
    expect(await all(open(server.url, { how: { silenceMs: 200, onState } }))).toEqual([
      '1',
      '2',
      'end completed',
    ]);
    expect(errors).toMatchObject([{ reason: 'timeout' }, { reason: 'timeout' }]);
    // The client has let go of both.
    await Promise.all(server.visits.map(({ gone }) => gone));
  });

  it('does not come while something is said now and then', async () => {
    const server = await scriptedSseServer((visit) => {
      let said = 0;
      const timer = setInterval(() => {
        said += 1;
        if (said === 12) visit.streamEnd(0);
        else visit.raw(said % 2 === 0 ? ': still here\n' : 'event: keepalive\ndata: {}\n\n');
        if (said === 12) clearInterval(timer);
      }, 200);
    });
    expect(await all(open(server.url, { how: { silenceMs: 1_500 } }))).toEqual(['end completed']);
    expect(server.visits).toHaveLength(1);
  });

  it('does not come because the reader is slow', async () => {
    const server = await scriptedSseServer((visit) => visit.event(1).event(2).streamEnd(2));
    const frames = open(server.url, { how: { silenceMs: 100 } });
    const seen: string[] = [];
    for await (const frame of frames) {
      seen.push(short(frame));
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    expect(seen).toEqual(['1', '2', 'end completed']);
    expect(server.visits).toHaveLength(1);
  });
});

describe.concurrent('the cursor', () => {
  it('is what the caller gives, then the last event; a place to begin is asked for once', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.cut(),
      (visit) => visit.event(8).cut(),
      (visit) => visit.streamEnd(8),
    );
    await all(open(server.url, { place: { after: '7' } }));
    expect(lastEventIds(server.visits)).toEqual(['7', '7', '8']);
    expect(server.visits.map(({ url }) => url)).toEqual(
      Array.from({ length: 3 }, () => '/api/v1/runs/run_1/stream'),
    );
  });

  it('of a reader of the latest is where it was caught up, although it has seen no event (27)', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.caughtUp(0).close(),
      (visit) => visit.event(1).event(2).caughtUp(2).streamEnd(2),
    );
    const frames = open(server.url, { place: { start: 'latest' } });
    expect(await all(frames)).toEqual(['caught-up 0', '1', '2', 'caught-up 2', 'end completed']);
    expect(server.visits.map(({ url }) => url)).toEqual([
      '/api/v1/runs/run_1/stream?start=latest',
      '/api/v1/runs/run_1/stream',
    ]);
    expect(lastEventIds(server.visits)).toEqual([undefined, '0']);
  });

  it('passes each event once, whatever the server sends again (36)', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.event(1).event(2).event(2).event(1).event(10).close(),
      (visit) => visit.event(9).event(10).event(11).caughtUp(11).streamEnd(11),
    );
    expect(await all(open(server.url))).toEqual(['1', '2', '10', '11', 'caught-up 11', 'end completed']);
  });

  it('moves over a gap, which is told once', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.frame('gap', { from: 1, to: 4, reason: 'retention' }).close(),
      (visit) => visit.event(5).streamEnd(5),
    );
    expect(await all(open(server.url))).toEqual(['gap 1-4', '5', 'end completed']);
    expect(lastEventIds(server.visits)).toEqual([undefined, '4']);
  });

  it('of a session is compared by turn, then by seq; that of the feed is not compared', async () => {
    const framesOf = (ids: string[]) => (visit: Visit) => {
      for (const id of ids) visit.raw(`id: ${id}\ndata: ${JSON.stringify(feedEvent)}\n\n`);
      visit.frame('stream-end', { status: 'archived', terminalStatus: null, lastSeq: '3.1' }).close();
    };
    const { seq, ...rest } = { seq: 1, eventId: 'e', runId: 'r', attempt: 1, epoch: 1 };
    const whose = { tenantId: 't', projectId: 'p', sessionId: 's' };
    const feedEvent = { seq, ...rest, type: 'plan', at: '2026-01-01T00:00:00Z', payload: {}, ...whose };
    const sessions = await scriptedSseServer(framesOf(['1.1', '1.9', '1.10', '2.1', '1.11', '2.1', '10.1']));
    const feed = await scriptedSseServer(framesOf(['zz', 'aa', 'aa', 'b']));
    const ids = async (frames: AsyncIterable<{ frame: string; id?: string }>) => {
      const seen: string[] = [];
      for await (const frame of frames) if (frame.id !== undefined) seen.push(frame.id);
      return seen;
    };
    const client = (baseUrl: string) => createApiClient({ baseUrl, token: () => token });
    const { streamSession, streamFeed } = streamRoutes;
    const session = client(sessions.url).stream(streamSession, { params: { sessionId: 's' } });
    expect(await ids(session)).toEqual(['1.1', '1.9', '1.10', '2.1', '10.1']);
    expect(await ids(client(feed.url).stream(streamFeed, {}))).toEqual(['zz', 'aa', 'b']);
  });

  it.each(['', 'a b', '1\r\nx: y', 'ü', 'x'.repeat(2_001)])('%j is refused at once', async (after) => {
    await expect(open('http://127.0.0.1:1', { place: { after } }).next()).rejects.toThrow(TypeError);
  });
});

describe.concurrent('a refusal', () => {
  it.each([
    [400, 'schema-invalid'],
    [403, 'forbidden'],
    [404, 'not-found'],
    [406, 'not-acceptable'],
    [409, 'cursor-ahead'],
  ])('%i is final', async (status, failureKind) => {
    const server = await scriptedSseServer((visit) => visit.refuse(status, failureKind));
    await expect(all(open(server.url))).rejects.toMatchObject({ name: 'ApiError', status, failureKind });
    expect(server.visits).toHaveLength(1);
  });

  it('401 is answered with the token read again, once (23)', async () => {
    const tokens = ['stale', 'fresh', 'fresh', 'stale-too', 'stale-three'];
    const refused: unknown[] = [];
    const server = await scriptedSseServer(
      (visit) => visit.refuse(401, 'unauthorized'),
      (visit) => visit.event(1).frame('rotated', { reason: 'age' }),
      (visit) => visit.event(2).close(),
      (visit) => visit.refuse(401, 'unauthorized'),
      (visit) => visit.refuse(401, 'unauthorized'),
    );
    const seen: string[] = [];
    const read = async () => {
      const client = { token: () => tokens.shift() ?? '', onRefused: (told: unknown) => refused.push(told) };
      for await (const frame of open(server.url, { client })) seen.push(short(frame));
    };
    await expect(read()).rejects.toMatchObject({ name: 'ApiError', status: 401 });
    expect(seen).toEqual(['1', '2']);
    expect(server.visits.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer stale',
      'Bearer fresh',
      'Bearer fresh',
      'Bearer stale-too',
      'Bearer stale-three',
    ]);
    expect(refused).toHaveLength(3);
    expect(refused[0]).toEqual({ method: 'GET', path: '/api/v1/runs/run_1/stream', status: 401, attempt: 1 });
  });

  it.each([429, 503])('%i is waited out for as long as it says', async (status) => {
    const server = await scriptedSseServer(
      (visit) => visit.refuse(status, 'unavailable', { 'retry-after': '2' }),
      (visit) => visit.streamEnd(0),
    );
    expect(await all(open(server.url))).toEqual(['end completed']);
    const [first, second] = server.visits.map(({ at }) => at);
    expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(1_990);
  });

  it('without an envelope is one all the same', async () => {
    const server = await scriptedSseServer((visit) => visit.answer(404, 'text/html', '<h1>Not here</h1>'));
    await expect(all(open(server.url))).rejects.toMatchObject({ status: 404, failureKind: 'http-404' });
  });

  it.each<[string, (visit: Visit) => unknown]>([
    ['another content type', (visit) => visit.answer(200, 'text/html', 'hello')],
    ['no JSON', (visit) => visit.raw('id: 1\ndata: {"seq"\n\n')],
    ['an event that does not fit', (visit) => visit.event(1, { seq: 'one' })],
    ['an event without id', (visit) => visit.raw('data: {}\n\n')],
    ['a frame that is too large', (visit) => visit.raw(`data: ${'x'.repeat(5_000_000)}`)],
  ])('an answer that is no stream of this contract is final: %s', async (_name, scene) => {
    const server = await scriptedSseServer(scene);
    await expect(all(open(server.url))).rejects.toMatchObject({ reason: 'invalid-answer' });
    expect(server.visits).toHaveLength(1);
  });
});

describe.concurrent('the budget', () => {
  it('is for failures in a row; the last of them is the cause', async () => {
    const server = await scriptedSseServer((visit) => visit.cut());
    const states: StreamState[] = [];
    const how = { budget: { attemptsInARow: 2 }, onState: (state: StreamState) => states.push(state) };
    const reading = all(open(server.url, { how }));
    await expect(reading).rejects.toThrow(StreamExhausted);
    await expect(reading).rejects.toMatchObject({ cause: { name: 'ConnectionError', reason: 'network' } });
    expect(server.visits).toHaveLength(3);
    expect(states).toMatchObject([
      { kind: 'waiting', attempt: 1 },
      { kind: 'waiting', attempt: 2 },
    ]);
  });

  it('of error frames is another one, which keepalives do not renew (42)', async () => {
    const server = await scriptedSseServer((visit) =>
      visit
        .frame('keepalive', {})
        .frame('error', { failureKind: 'infra-failed', message: 'no database' })
        .close(),
    );
    const reading = all(open(server.url, { how: { budget: { attemptsInARow: 2 } } }));
    await expect(reading).rejects.toMatchObject({
      name: 'StreamExhausted',
      cause: { name: 'StreamError', failureKind: 'infra-failed', message: 'no database' },
    });
    expect(server.visits).toHaveLength(3);
  });

  it('is new with each event', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.event(1).cut(),
      (visit) => visit.event(2).cut(),
      (visit) => visit.event(3).cut(),
      (visit) => visit.streamEnd(3),
    );
    const how = { budget: { attemptsInARow: 1, attemptsInAll: 1 } };
    expect(await all(open(server.url, { how }))).toEqual(['1', '2', '3', 'end completed']);
  });
});

describe('an abort', () => {
  /** What keeps this process alive for the client: connections and timers. */
  const kept = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;

  it.each<[string, (visit: Visit) => unknown, boolean]>([
    ['before the answer', () => undefined, true],
    ['while nothing is said', (visit) => visit.accept(), true],
    ['in the middle of a frame', (visit) => visit.event(1).raw('id: 2\ndata: {"s'), true],
    ['while the refusal is read', (visit) => visit.raw('x'), true],
    ['while it waits for the next connection', (visit) => visit.cut(), false],
  ])('%s closes everything', async (_name, scene, isOpen) => {
    const server = await scriptedSseServer(scene);
    const stop = new AbortController();
    const timers = kept();
    const seen: string[] = [];
    let waits = 0;
    const reading = (async () => {
      const onState = ({ kind }: StreamState) => {
        if (kind === 'waiting') waits += 1;
      };
      for await (const frame of open(server.url, { how: { signal: stop.signal, onState } })) {
        seen.push(short(frame));
      }
    })();
    await expect.poll(() => server.visits.length).toBe(1);
    await expect.poll(() => waits).toBe(isOpen ? 0 : 1);
    stop.abort();
    await reading;
    await server.visits[0]?.gone;
    expect(server.visits).toHaveLength(1);
    expect(kept()).toBeLessThanOrEqual(timers);
  });

  it('before it begins asks for nothing', async () => {
    const server = await scriptedSseServer((visit) => visit.event(1));
    expect(await all(open(server.url, { how: { signal: AbortSignal.abort() } }))).toEqual([]);
    expect(server.visits).toEqual([]);
  });

  it('is the last word: what has arrived is not delivered any more', async () => {
    const server = await scriptedSseServer((visit) => visit.raw('').event(1).event(2).event(3).streamEnd(3));
    const stop = new AbortController();
    const seen: string[] = [];
    for await (const frame of open(server.url, { how: { signal: stop.signal } })) {
      seen.push(short(frame));
      stop.abort();
    }
    expect(seen).toEqual(['1']);
  });

  it('is also to leave the loop', async () => {
    const server = await scriptedSseServer((visit) => visit.event(1).event(2));
    for await (const frame of open(server.url)) {
      expect(short(frame)).toBe('1');
      break;
    }
    await server.visits[0]?.gone;
  });

  it('ends even a fetch that ignores it', async () => {
    const stop = new AbortController();
    const client = { fetch: () => new Promise<Response>(() => undefined) };
    const reading = all(open('http://api.test', { client, how: { signal: stop.signal } }));
    stop.abort();
    expect(await reading).toEqual([]);
  });
});

describe('the token', () => {
  it('is in no URL, no error and no log line', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.refuse(401, 'unauthorized'),
      (visit) => visit.event(1).cut(),
      (visit) => visit.frame('error', { failureKind: 'infra-failed', message: 'no' }).close(),
      (visit) => visit.refuse(403, 'forbidden'),
    );
    const lines: unknown[] = [];
    const log = { warn: (...line: unknown[]) => lines.push(line) };
    const error: unknown = await all(open(server.url, { client: { log, onRefused: log.warn } })).catch(
      (thrown: unknown) => thrown,
    );
    const told = JSON.stringify([lines, server.visits.map(({ url }) => url), errorText(error)]);
    expect(lines.length).toBeGreaterThanOrEqual(5);
    expect(told).not.toContain(token);
    expect(server.visits.every(({ headers }) => headers.authorization === `Bearer ${token}`)).toBe(true);
  });

  it('that no header can carry is not quoted', async () => {
    const client = { token: () => `${token}\n${token}` };
    const error: unknown = await open('http://127.0.0.1:1', { client })
      .next()
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(TypeError);
    expect(String(error)).not.toContain(token);
  });
});
