import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { FeedSource } from '../../../api/streams/feed-source.js';
import { FeedTail } from '../../../api/streams/feed-tail.js';
import { readFeed, readFeedEdges } from '../../../store/feed.js';
import { encodeFeedCursor, type FeedPosition, feedBefore, feedStart } from '../../../store/feed-position.js';
import { storeEvents, storeLog } from '../../support/log-rows.js';
import { framesIn } from '../../support/stream-reader.js';
import { useApi } from '../../support/use-api.js';

const { api, database } = await useApi();
const { logger } = api.deps;
const { pool } = database;
/** Nobody is woken: what is seen was looked for. */
const listener = { subscribeAll: () => () => undefined };

/** The answers of a Postgres that a test makes up, by what is asked for. */
type Answer = (
  asked: 'edges' | 'page',
  values: readonly unknown[],
) => Promise<readonly object[]> | readonly object[];
const scripted = (answer: Answer): FeedTail =>
  new FeedTail({
    logger,
    listener,
    pool: Object.assign(Object.create(pool), {
      query: async (asked: string | { readonly values: readonly unknown[] }) => {
        await sleep(1);
        return {
          rows: typeof asked === 'string' ? await answer('edges', []) : await answer('page', asked.values),
        };
      },
    }),
  });
const noEvent = { dropped: null, xid: null, run_id: null };
const opened: FeedSource[] = [];
function open(tail: FeedTail, after: FeedPosition, end: FeedPosition, tenantId?: string): FeedSource {
  const source = new FeedSource(tail, { after, end, tenantId });
  opened.push(source);
  return source;
}
afterEach(() => {
  vi.restoreAllMocks();
  for (const source of opened.splice(0)) source.close();
});
/** What a reader is sent within a time limit, until `isEnough`. */
async function read(
  source: FeedSource,
  isEnough: (text: string) => boolean,
  timeMs = 10_000,
): Promise<string> {
  const signal = AbortSignal.timeout(timeMs);
  let text = '';
  while (!isEnough(text) && !signal.aborted)
    text += Buffer.from((await source.next(signal)).bytes).toString();
  return text;
}
/** JSON that Postgres stores in a hundredth of its size. */
const storeLarge = (runId: string, count: number) =>
  pool.query(
    `with log as (
       update run_log set last_seq = last_seq + $2, last_xid = greatest(pg_current_xact_id(), last_xid) where run_id = $1
       returning last_seq, last_xid)
     insert into events (run_id, seq, event_id, epoch, type, payload, xid)
     select $1, last_seq - $2 + n, 'evt_' || $1 || n, 1, 'command_execution', jsonb_build_object('output', repeat('the same again ', 20000)), last_xid
       from log, generate_series(1, $2::int) n order by n`,
    [runId, count],
  );

describe('a page of the feed', () => {
  it('is bounded by what it is as text, and what follows it is not left out', async () => {
    const runId = await storeLog(database);
    await storeLarge(runId, 40);
    const { end } = await readFeedEdges(pool);
    const sizes: number[] = [];
    const seqs: number[] = [];
    for (let [after, isEnd]: [FeedPosition, boolean] = [feedStart, false]; !isEnd; ) {
      const page = await readFeed(pool, { after }, { events: 1_000, bytes: 1_000_000 });
      sizes.push(page.entries.reduce((sum, { json }) => sum + json.length, 0));
      seqs.push(...page.entries.flatMap(({ position }) => (position.runId === runId ? [position.seq] : [])));
      [after, isEnd] = [page.upTo, page.isEnd];
      if (isEnd) expect(after).toEqual(end);
    }
    expect(seqs).toEqual(Array.from({ length: 40 }, (_, index) => index + 1));
    expect(Math.max(...sizes)).toBeLessThanOrEqual(1_000_000);
    await pool.query('delete from events where run_id = $1', [runId]);
  });

  it('that cannot be read is asked for smaller and smaller, and then larger again', async () => {
    const asked: number[] = [];
    const tail = scripted((what, values) => {
      if (what === 'edges') return [{ last: '10', horizon: '200' }];
      const [events] = [values[3]].map(Number);
      asked.push(events ?? 0);
      if (asked.length < 8 && (events ?? 0) > 100)
        throw new Error('canceling statement due to statement timeout');
      return [{ ...noEvent, horizon: '200' }];
    });
    vi.spyOn(Math, 'random').mockReturnValue(0);
    const source = open(tail, feedBefore('5'), feedBefore('11'));
    expect(await read(source, (text) => text !== '')).toContain('caught-up');
    expect(Math.min(...asked)).toBeLessThan(100);
    await expect.poll(() => asked.at(-1), { timeout: 15_000 }).toBe(1_000);
  });
});

describe('a reader of the feed', () => {
  it('has caught up when the last events that were there when it came were deleted meanwhile', async () => {
    let pages = 0;
    const tail = scripted((what) => {
      if (what === 'edges') return [{ last: '90', horizon: '200' }];
      pages += 1;
      return [{ ...noEvent, horizon: '200' }];
    });
    const source = open(tail, feedBefore('91'), feedBefore('101'));
    const [frame] = framesIn(await read(source, (text) => text !== '', 2_000));
    expect(frame).toMatchObject({ frame: 'caught-up', data: { seq: encodeFeedCursor(feedBefore('101')) } });
    expect(await read(source, () => false, 500)).toBe('');
    expect(pages).toBeLessThan(10);
  });

  it('is not given what a session that was deleted has left in memory, a minute later', async () => {
    const keeps = new FeedTail({ pool, logger, listener });
    const { end: start } = await readFeedEdges(pool);
    const first = open(keeps, start, start);
    await read(first, (text) => text.includes('caught-up'));
    const runId = await storeLog(database, { events: 3 });
    await read(first, (text) => framesIn(text).length === 3);
    await pool.query(
      'update sessions set deleted_at = now() where session_id = (select session_id from runs where run_id = $1)',
      [runId],
    );
    const now = performance.now.bind(performance);
    vi.spyOn(performance, 'now').mockImplementation(() => now() + 61_000);
    const other = await storeLog(database, { events: 1 });
    await read(first, (text) => framesIn(text).length === 1);
    // It came when the feed ended before these events; what it reads is what is held of them.
    const late = open(keeps, start, start);
    const text = await read(late, (sent) => sent.includes(other));
    expect(framesIn(text).flatMap(({ data }) => (data.runId === undefined ? [] : [data.runId]))).toEqual([
      other,
    ]);
    await pool.query('delete from events where run_id = $1', [runId]);
  });

  it('of a tenant without events is told where it is, by places that name nobody', async () => {
    const theirs = await storeLog(database, { tenantId: 'other' });
    for (let count = 0; count < 3; count += 1) await storeEvents(pool, theirs, 9_000);
    const tail = new FeedTail({ pool, logger, listener });
    const mine = await storeLog(database, { events: 1 });
    const { end } = await readFeedEdges(pool);
    const text = await read(open(tail, feedStart, end, 'acme'), (sent) => sent.includes('caught-up'));
    const places = [...text.matchAll(/^id: (\S+)\n: at (\S+)\n\n/gm)];
    expect(places.length).toBeGreaterThan(0);
    const cursors = places.map(([, id]) => Buffer.from(id ?? '', 'base64url').toString());
    for (const [index, [, id, comment]] of places.entries()) {
      expect(comment).toBe(id);
      expect(cursors[index]).toMatch(/^1\.\d+\.\.0$/);
    }
    // From there on nothing is missing.
    const [xid = ''] = cursors.map((cursor) => cursor.split('.')[1] ?? '').slice(-1);
    const rest = await read(open(tail, feedBefore(xid), end, 'acme'), (sent) => sent.includes('caught-up'));
    expect(framesIn(rest).map(({ data }) => data.runId)).toEqual([mine, undefined]);
  });

  it('of a tenant without events is told where it is while others write', async () => {
    let xid = 100;
    const tail = scripted((what) => {
      if (what === 'edges') return [{ last: '100', horizon: '101' }];
      xid += 1;
      const foreign = { xid: String(xid), run_id: 'run_x', seq: 1, scanned: 1, tenant_id: null };
      return [{ horizon: String(xid + 1), dropped: null, ...foreign }];
    });
    const source = open(tail, feedBefore('101'), feedBefore('101'), 'acme');
    await read(source, (text) => text.includes('caught-up'));
    Object.assign(tail, { changed: () => sleep(5) });
    const text = await read(source, (sent) => sent.includes(': at '));
    expect(text).toMatch(/^id: (\S+)\n: at \1\n\n$/);
  });

  it('is ended when the database knows less than it has read; who comes then is served', async () => {
    let horizon = 200;
    const tail = scripted((what) =>
      what === 'edges'
        ? [{ last: String(horizon - 50), horizon: String(horizon) }]
        : [{ ...noEvent, horizon: String(horizon) }],
    );
    const source = open(tail, feedBefore('151'), feedBefore('151'));
    await read(source, (text) => text.includes('caught-up'));
    const goesOn = expect(source.next(AbortSignal.timeout(10_000))).rejects.toMatchObject({
      failureKind: 'cursor-ahead',
    });
    horizon = 140;
    await goesOn;
    const next = open(tail, feedBefore('91'), feedBefore('91'));
    expect(await read(next, (text) => text !== '')).toContain('caught-up');
    expect(await read(next, () => false, 1_500)).toBe('');
  });
});
