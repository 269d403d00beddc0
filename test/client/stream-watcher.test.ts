import { describe, expect, it, vi } from 'vitest';
import {
  type ApiClientOptions,
  createApiClient,
  type WatchedFrame,
  type WatchOptions,
  type WatchState,
  watchStream,
} from '../../client/index.js';
import { streamRoutes } from '../../contract/routes/streams.js';
import type { RunStreamFrame } from '../../contract/streams.js';
import { eventOf, scriptedSseServer, terminalEvent, type Visit } from './scripted-sse-server.js';

type Frame = WatchedFrame<RunStreamFrame>;

function watch(url: string, options: WatchOptions = {}, client: Partial<ApiClientOptions> = {}) {
  return watchStream(
    createApiClient({ baseUrl: url, token: () => 'token', ...client }),
    streamRoutes.streamRun,
    { params: { runId: 'run_1' } },
    options,
  );
}

const eventually = (check: () => void) => vi.waitFor(check, { timeout: 5_000, interval: 10 });

/** Everything that a subscriber is told, in order, in short: `snapshot 1,2`, `frames 3,gap 4-5`, `live`, `ended completed`. */
function teller() {
  const told: string[] = [];
  const onState = (state: WatchState<RunStreamFrame>) => {
    if (state.kind === 'ended') told.push(`ended ${state.end.status}`);
    else if (state.kind === 'failed') told.push(`failed ${String(state.error)}`);
    else if (state.kind !== 'idle') told.push(state.waiting === null ? state.kind : `${state.kind}, waiting`);
  };
  return {
    told,
    onSnapshot: (frames: readonly Frame[]) => told.push(['snapshot', ...frames.map(short)].join(' ')),
    onFrames: (frames: readonly Frame[]) => told.push(['frames', ...frames.map(short)].join(' ')),
    onState,
    /** Waits until the last word is this one. */
    until: (last: string | RegExp) => eventually(() => expect(told.at(-1)).toMatch(last)),
  };
}

function short(frame: Frame): string {
  if (frame.frame === 'event') return frame.id;
  return frame.frame === 'gap' ? `gap ${frame.data.from}-${frame.data.to}` : `~${frame.data.text}`;
}

/** A scene that is played on when the test says so. */
function held() {
  const visits: Visit[] = [];
  const scene = (visit: Visit) => visits.push(visit.accept());
  const visit = async (number = 0): Promise<Visit> => {
    await eventually(() => expect(visits.length).toBeGreaterThan(number));
    const found = visits[number];
    if (found === undefined) throw new Error('no visit');
    return found;
  };
  return { scene, visit };
}

describe.concurrent('a watcher', () => {
  it('tells what was there as one snapshot, then what follows, then the end', async () => {
    const { scene, visit } = held();
    const server = await scriptedSseServer(scene);
    const one = teller();
    const watcher = watch(server.url);
    expect(watcher.state).toEqual({ kind: 'idle' });
    watcher.subscribe(one);
    const live = await visit();
    live.event(1).event(2).caughtUp(2);
    await one.until('live');
    live.event(3);
    await one.until('frames 3');
    live.frame('gap', { from: 4, to: 6, reason: 'retention' }).event(7).streamEnd(7);
    await one.until('ended completed');
    expect(one.told).toEqual([
      'bootstrapping',
      'snapshot 1 2',
      'live',
      'frames 3',
      'frames gap 4-6 7',
      'ended completed',
    ]);
    expect(watcher.state).toEqual({
      kind: 'ended',
      end: { status: 'completed', terminalStatus: 'completed', lastSeq: 7 },
    });
  });

  it('is in no hurry: what comes within 16 ms is told at once, and 50 are told without a wait (43)', async () => {
    const { scene, visit } = held();
    const server = await scriptedSseServer(scene);
    const batches: number[] = [];
    const gathered: number[] = [];
    watch(server.url).subscribe({
      onSnapshot: () => undefined,
      onFrames: (frames) => {
        batches.push(frames.length);
        gathered.push(...frames.map((frame) => ('id' in frame ? Number(frame.id) : 0)));
      },
    });
    const live = await visit();
    const seqs = Array.from({ length: 120 }, (_, index) => index + 1);
    live.raw(`event: caught-up\ndata: {"seq":0}\n\n`);
    for (const seq of seqs) live.event(seq);
    await eventually(() => expect(gathered).toEqual(seqs));
    expect(Math.max(...batches)).toBe(50);
    expect(batches.length).toBeLessThan(20);
  });

  it('outlives cut connections and says so, without telling anything twice', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.event(1).caughtUp(1).event(2).cut(),
      (visit) => visit.event(2).event(3).caughtUp(3).streamEnd(3),
    );
    const one = teller();
    watch(server.url).subscribe(one);
    await one.until('ended completed');
    expect(one.told).toEqual([
      'bootstrapping',
      'snapshot 1',
      'live',
      'frames 2',
      'live, waiting',
      'live',
      'frames 3',
      'ended completed',
    ]);
  });
});

describe.concurrent('stream-end during bootstrap (34)', () => {
  it('(a) before the first event was read', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.accept().cut(),
      (visit) => visit.event(1).event(2).streamEnd(2),
    );
    const one = teller();
    watch(server.url).subscribe(one);
    await one.until('ended completed');
    expect(one.told.slice(-2)).toEqual(['snapshot 1 2', 'ended completed']);
  });

  it('(b) between events that were read in parts', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.event(1).event(2).cut(),
      (visit) => visit.event(3, terminalEvent).streamEnd(3),
    );
    const one = teller();
    watch(server.url).subscribe(one);
    await one.until('ended completed');
    expect(one.told).toEqual([
      'bootstrapping',
      'bootstrapping, waiting',
      'bootstrapping',
      'snapshot 1 2 3',
      'ended completed',
    ]);
  });

  it('(c) which fails is told, not passed over', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.event(1).cut(),
      (visit) => visit.refuse(404, 'not-found'),
    );
    const one = teller();
    watch(server.url).subscribe(one);
    await one.until(/^failed ApiError: refused: not-found/);
    expect(one.told.filter((word) => word.startsWith('snapshot'))).toEqual([]);
  });

  it('(d) of a stream without events: an empty snapshot and the status', async () => {
    const server = await scriptedSseServer((visit) => visit.streamEnd(0, 'cancelled'));
    const one = teller();
    watch(server.url).subscribe(one);
    await one.until('ended cancelled');
    expect(one.told).toEqual(['bootstrapping', 'snapshot', 'ended cancelled']);
    expect(server.visits).toHaveLength(1);
  });

  it('(e, f) to unsubscribe aborts everything, and nothing is told any more', async () => {
    const { scene, visit } = held();
    const server = await scriptedSseServer(scene);
    const one = teller();
    const watcher = watch(server.url);
    const stop = watcher.subscribe(one);
    const live = await visit();
    live.event(1);
    const before = [...one.told];
    stop();
    await live.gone;
    expect(watcher.state).toEqual({ kind: 'idle' });
    expect(one.told).toEqual(before);
    expect(server.visits).toHaveLength(1);
  });

  it('(f) to unsubscribe while it waits for the next connection ends the wait', async () => {
    const server = await scriptedSseServer((visit) => visit.cut());
    const one = teller();
    const stop = watch(server.url).subscribe(one);
    await one.until('bootstrapping, waiting');
    stop();
    await new Promise((resolve) => setTimeout(resolve, 800));
    expect(server.visits).toHaveLength(1);
  });
});

describe.concurrent('subscribers', () => {
  it('who come later get all there is, merged; the last who leaves closes the connection (38)', async () => {
    const { scene, visit } = held();
    const server = await scriptedSseServer(scene);
    const [one, two] = [teller(), teller()];
    const watcher = watch(server.url);
    const leaveOne = watcher.subscribe(one);
    const live = await visit();
    live.event(1).caughtUp(1).event(2);
    await one.until('frames 2');
    const leaveTwo = watcher.subscribe(two);
    await two.until('live');
    expect(two.told).toEqual(['snapshot 1 2', 'live']);
    live.event(3);
    await Promise.all([one.until('frames 3'), two.until('frames 3')]);
    leaveOne();
    leaveOne();
    live.event(4);
    await two.until('frames 4');
    expect(one.told.at(-1)).toBe('frames 3');
    leaveTwo();
    await live.gone;
    expect(server.visits).toHaveLength(1);
    // Somebody new begins anew.
    const three = teller();
    const leaveThree = watcher.subscribe(three);
    (await visit(1)).event(1).caughtUp(1);
    await three.until('live');
    expect(three.told).toEqual(['bootstrapping', 'snapshot 1', 'live']);
    leaveThree();
  });

  it('who come in the midst of a batch get each event once', async () => {
    const { scene, visit } = held();
    const server = await scriptedSseServer(scene);
    const watcher = watch(server.url);
    const [one, two] = [teller(), teller()];
    watcher.subscribe({
      ...one,
      onState: (state) => {
        one.onState(state);
        // The event behind it has come in the same piece, and is still being gathered.
        if (state.kind === 'live') setImmediate(() => watcher.subscribe(two));
      },
    });
    const live = await visit();
    live.raw(`event: caught-up\ndata: {"seq":0}\n\nid: 1\ndata: ${JSON.stringify(eventOf(1))}\n\n`);
    await Promise.all([one.until('frames 1'), two.until('live')]);
    live.event(2);
    await Promise.all([one.until('frames 2'), two.until('frames 2')]);
    expect(one.told).toEqual(['bootstrapping', 'snapshot', 'live', 'frames 1', 'frames 2']);
    expect(two.told).toEqual(['snapshot 1', 'live', 'frames 2']);
  });

  it('who come after the end get all and the end, and nothing is asked for', async () => {
    const server = await scriptedSseServer((visit) => visit.event(1).streamEnd(1));
    const [one, two] = [teller(), teller()];
    const watcher = watch(server.url);
    watcher.subscribe(one);
    await one.until('ended completed');
    watcher.subscribe(two);
    await two.until('ended completed');
    expect(two.told).toEqual(['snapshot 1', 'ended completed']);
    expect(server.visits).toHaveLength(1);
  });

  it('who throw disturb nobody', async () => {
    const server = await scriptedSseServer((visit) => visit.event(1).caughtUp(1).event(2).streamEnd(2));
    const lines: string[] = [];
    const watcher = watch(server.url, { log: { warn: (_fields, line) => lines.push(line) } });
    const broken = () => {
      throw new Error('broken');
    };
    watcher.subscribe({ onSnapshot: broken, onFrames: broken, onState: broken });
    const one = teller();
    watcher.subscribe(one);
    await one.until('ended completed');
    expect(one.told).toEqual(['bootstrapping', 'snapshot 1', 'live', 'frames 2', 'ended completed']);
    expect(new Set(lines)).toEqual(new Set(['a subscriber of a stream failed: Error: broken']));
  });

  it('may leave while they are told', async () => {
    const server = await scriptedSseServer((visit) => visit.event(1).caughtUp(1).event(2));
    const watcher = watch(server.url);
    const left = new Promise<void>((resolve) => {
      const stop = watcher.subscribe({
        onSnapshot: () => {
          stop();
          resolve();
        },
        onFrames: () => expect.unreachable(),
      });
    });
    await left;
    await server.visits[0]?.gone;
    expect(watcher.state).toEqual({ kind: 'idle' });
  });

  it('get the text that is still being written, until the event with the whole of it has come', async () => {
    const { scene, visit } = held();
    const server = await scriptedSseServer(scene);
    const watcher = watch(server.url);
    const one = teller();
    watcher.subscribe(one);
    const live = await visit();
    const piece = (offset: number, text: string) => live.frame('delta', { itemId: 'item-1', offset, text });
    live.caughtUp(0);
    piece(0, 'Hel');
    piece(3, 'lo');
    await one.until(/~lo$/);
    const two = teller();
    watcher.subscribe(two);
    await two.until('live');
    expect(two.told).toEqual(['snapshot ~Hel ~lo', 'live']);
    live.event(1);
    await two.until('frames 1');
    const three = teller();
    watcher.subscribe(three);
    await three.until('live');
    expect(three.told).toEqual(['snapshot 1', 'live']);
  });
});

describe.concurrent('the status of a run', () => {
  it('does not revert, and does not end the stream (39, 40)', async () => {
    const { scene, visit } = held();
    const server = await scriptedSseServer(scene, (next) => next.event(3).streamEnd(3));
    const watcher = watch(server.url);
    const one = teller();
    watcher.subscribe(one);
    const live = await visit();
    live.caughtUp(0).event(1, terminalEvent);
    await one.until('frames 1');
    expect(watcher.terminalStatusOf('run_1')).toBe('completed');
    live.event(2, { ...terminalEvent, payload: { ...terminalEvent.payload, terminalStatus: 'failed' } });
    await one.until('frames 2');
    expect([watcher.terminalStatusOf('run_1'), watcher.state.kind]).toEqual(['completed', 'live']);
    live.close();
    await one.until('ended completed');
    expect(one.told.slice(-2)).toEqual(['frames 3', 'ended completed']);
    expect(watcher.terminalStatusOf('run_1')).toBe('completed');
    expect(watcher.terminalStatusOf('run_2')).toBeUndefined();
  });
});

describe.concurrent('a budget that is used up (42)', () => {
  const budget = { attemptsInARow: 1 };

  it('is followed by one new beginning', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.event(1).caughtUp(1).event(2).cut(),
      (visit) => visit.cut(),
      (visit) => visit.event(1).event(2).event(3).caughtUp(3),
    );
    const one = teller();
    const stop = watch(server.url, { budget }).subscribe(one);
    await one.until(/^live$/);
    await eventually(() => expect(one.told.filter((word) => word === 'snapshot 1 2 3')).toHaveLength(1));
    expect(one.told).toEqual([
      'bootstrapping',
      'snapshot 1',
      'live',
      'frames 2',
      'live, waiting',
      'bootstrapping',
      'snapshot 1 2 3',
      'live',
    ]);
    expect(server.visits.map(({ headers }) => headers['last-event-id'])).toEqual([undefined, '2', undefined]);
    stop();
  });

  it('twice is a failure that everybody sees, until somebody says retry', async () => {
    let works = false;
    const server = await scriptedSseServer((visit) => (works ? visit.event(1).streamEnd(1) : visit.cut()));
    const one = teller();
    const watcher = watch(server.url, { budget });
    watcher.retry();
    expect(watcher.state.kind).toBe('idle');
    watcher.subscribe(one);
    await one.until(/^failed StreamExhausted: /);
    expect(server.visits).toHaveLength(4);
    const late = teller();
    watcher.subscribe(late);
    await late.until(/^failed StreamExhausted: /);
    expect(server.visits).toHaveLength(4);
    watcher.retry();
    await eventually(() => expect(one.told.filter((word) => word.startsWith('failed')).length).toBe(2));
    expect(server.visits).toHaveLength(8);
    works = true;
    watcher.retry();
    await Promise.all([one.until('ended completed'), late.until('ended completed')]);
    expect(one.told.slice(-3)).toEqual(['bootstrapping', 'snapshot 1', 'ended completed']);
    expect(server.visits).toHaveLength(9);
  });

  it('is not waited for where the server has lost what was seen', async () => {
    const server = await scriptedSseServer(
      (visit) => visit.event(1).event(2).caughtUp(2).cut(),
      (visit) => visit.refuse(409, 'cursor-ahead'),
      (visit) => visit.event(1).streamEnd(1),
    );
    const one = teller();
    watch(server.url).subscribe(one);
    await one.until('ended completed');
    expect(one.told.slice(-3)).toEqual(['bootstrapping', 'snapshot 1', 'ended completed']);
  });
});
