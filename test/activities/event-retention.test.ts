import { MockActivityEnvironment } from '@temporalio/testing';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createRetentionActivities } from '../../activities/event-retention.js';
import type { RetentionActivities } from '../../activities/index.js';
import { idPrefixes, lowestIdAt } from '../../contract/ids.js';
import { readEvents } from '../../store/events.js';
import { readFeed } from '../../store/feed.js';
import { feedStart } from '../../store/feed-position.js';
import { ensureEventPartitions, eventPartitions } from '../../store/partitions.js';
import { storeEvents, storeLog } from '../support/log-rows.js';
import { startPostgres, type TestDatabase, type TestPostgres } from '../support/postgres.js';

let postgres: TestPostgres;
let database: TestDatabase;
beforeAll(async () => {
  postgres = await startPostgres();
});
beforeEach(async () => {
  database = await postgres.newDatabase();
});
afterAll(async () => {
  await postgres?.stop();
});

const january = Date.UTC(2024, 0, 10);
const february = Date.UTC(2024, 1, 10);
const runAt = (timeMs: number, suffix = '0') => `${lowestIdAt(idPrefixes.run, timeMs).slice(0, -1)}${suffix}`;

/** Carries out one activity as a worker with this setting would. */
const as = <T>(
  retentionDays: number | undefined,
  work: (activities: RetentionActivities) => Promise<T>,
): Promise<T> =>
  new MockActivityEnvironment().run(() =>
    work(createRetentionActivities({ databaseUrl: database.url, retentionDays })),
  );
const drop = (month: string) => as(30, (activities) => activities.dropEventMonth({ month }));

async function withClient<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
const makeMonths = (nowMs: number) =>
  withClient(async (client) => (await ensureEventPartitions(client, nowMs)).made);
async function rows<Row extends pg.QueryResultRow>(sql: string, values: unknown[] = []): Promise<Row[]> {
  return (await database.pool.query<Row>(sql, values)).rows;
}
const countOf = async (table: string) =>
  (await rows<{ count: number }>(`select count(*)::int as count from ${table}`))[0]?.count;

describe('retention of the log', () => {
  it('keeps everything for ever when nothing else is said', async () => {
    await makeMonths(january);
    await storeLog(database, { runId: runAt(january), events: 1, endedDaysAgo: 400 });
    await as(undefined, async (activities) => {
      expect(await activities.listPastEventMonths()).toEqual({ retentionDays: null, months: [] });
      expect(await activities.dropEventMonth({ month: 'events_2024_01' })).toMatchObject({ outcome: 'kept' });
      expect(await activities.trimDefaultEvents()).toEqual({ deleted: 0, kept: 0 });
    });
    expect(await countOf('events')).toBe(1);
  });

  it('looks at the months that are over, and at no other', async () => {
    await makeMonths(january);
    const { retentionDays, months } = await as(30, (activities) => activities.listPastEventMonths());
    expect(retentionDays).toBe(30);
    expect(months).toEqual(['events_2024_01', 'events_2024_02', 'events_2024_03']);
  });

  it('drops a month whole when its runs ended long enough ago, says so, and does nothing more the second time', async () => {
    await makeMonths(january);
    const old = await storeLog(database, { runId: runAt(january), events: 3, endedDaysAgo: 31 });
    const next = await storeLog(database, { runId: runAt(february), events: 2, endedDaysAgo: 31 });
    for (const runId of [old, next])
      await database.pool.query(
        `insert into quarantined_events (run_id, epoch, producer_seq, reason, event) values ($1, 1, 9, 'fenced', '{}')`,
        [runId],
      );
    const [last] = await rows<{ last_xid: string; last_run_id: string; last_seq: number }>(
      'select xid::text as last_xid, run_id as last_run_id, seq as last_seq from events where run_id = $1 order by seq desc limit 1',
      [old],
    );

    expect(await drop('events_2024_01')).toEqual({ outcome: 'dropped' });
    expect(await drop('events_2024_01')).toEqual({ outcome: 'dropped' });

    expect(await rows('select run_id from events group by run_id')).toEqual([{ run_id: next }]);
    expect(await rows('select run_id from quarantined_events')).toEqual([{ run_id: next }]);
    const dropped = await rows<{ bytes: number }>(
      'select partition, from_run_id, to_run_id, last_xid::text, last_run_id, last_seq, runs, bytes from dropped_events',
    );
    const [month] = eventPartitions(january);
    expect(dropped).toEqual([
      {
        partition: 'events_2024_01',
        from_run_id: month?.from,
        to_run_id: month?.to,
        ...last,
        runs: 1,
        bytes: expect.any(Number),
      },
    ]);
    expect(dropped[0]?.bytes).toBeGreaterThan(0);
  });

  it.each([
    { title: 'has not ended', endedDaysAgo: undefined, reason: 'has not ended' },
    { title: 'ended a short time ago', endedDaysAgo: 29, reason: 'ended less than 30 days ago' },
  ])('keeps a month as long as one run of it $title', async ({ endedDaysAgo, reason }) => {
    await makeMonths(january);
    await storeLog(database, { runId: runAt(january, '1'), events: 1, endedDaysAgo: 31 });
    const young = await storeLog(database, {
      runId: runAt(january, '2'),
      events: 1,
      ...(endedDaysAgo === undefined ? {} : { endedDaysAgo }),
    });
    expect(await drop('events_2024_01')).toEqual({ outcome: 'kept', reason: `run ${young} ${reason}` });
    expect(await countOf('events')).toBe(2);
    expect(await countOf('dropped_events')).toBe(0);
  });

  it('gives up soon when somebody holds the log, which is as it was, and lets those behind it go on', async () => {
    await makeMonths(january);
    const old = await storeLog(database, { runId: runAt(january), events: 1, endedDaysAgo: 31 });
    // A flood of them is gone before anybody is made to wait.
    await database.pool.query(
      `insert into quarantined_events (run_id, epoch, producer_seq, reason, event)
       select $1, 1, seq, 'fenced', '{}' from generate_series(1, 5000) seq`,
      [old],
    );
    await withClient(async (reader) => {
      await reader.query('begin; select 1 from events');
      const refused = expect(drop('events_2024_01')).rejects.toMatchObject({ code: '55P03' });
      await expect
        .poll(() =>
          rows(`select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like 'drop table%'`),
        )
        .toHaveLength(1);
      expect(await countOf('quarantined_events')).toBe(0);
      // Waits behind the drop, and no longer than the pool allows.
      expect(await countOf('events')).toBe(1);
      await refused;
      await reader.query('rollback');
    });
    expect(await countOf('dropped_events')).toBe(0);
    expect(await drop('events_2024_01')).toEqual({ outcome: 'dropped' });
  });

  it('deletes old events that have no partition, run by run, and leaves the others', async () => {
    const old = await storeLog(database, { runId: runAt(january), events: 5_000, endedDaysAgo: 31 });
    const young = await storeLog(database, { runId: runAt(january, '2'), events: 1, endedDaysAgo: 2 });
    const open = await storeLog(database, { runId: runAt(february), events: 1 });
    const trim = () => as(30, (activities) => activities.trimDefaultEvents());
    expect(await trim()).toEqual({ deleted: 1, kept: 2 });
    expect(await trim()).toEqual({ deleted: 0, kept: 2 });
    expect(await rows('select run_id from events order by run_id')).toEqual([
      { run_id: young },
      { run_id: open },
    ]);
    expect(await rows('select partition, runs, last_run_id, last_seq from dropped_events')).toEqual([
      { partition: 'events_default', runs: 1, last_run_id: old, last_seq: 5_000 },
    ]);
    expect((await readEvents(database.pool, old, { afterSeq: 0, limit: 10 })).gap).toEqual({
      from: 1,
      to: 5_000,
      reason: 'retention',
    });
  });
});

describe('a page of a log of which something was dropped', () => {
  it('says what is missing before its first event, and goes on being right about the rest', async () => {
    const runId = await storeLog(database, { events: 10, endedDaysAgo: 31 });
    const page = (afterSeq: number, transcript = false) =>
      readEvents(database.pool, runId, { afterSeq, limit: 3, transcript });
    expect(await page(0)).toMatchObject({ gap: null, hasMore: true });

    await database.pool.query('delete from events where run_id = $1 and seq <= 6', [runId]);
    for (const transcript of [false, true]) {
      expect(await page(0, transcript)).toMatchObject({
        gap: { from: 1, to: 6, reason: 'retention' },
        hasMore: true,
        lastSeq: 10,
      });
      expect(await page(4, transcript)).toMatchObject({ gap: { from: 5, to: 6 }, hasMore: true });
      expect(await page(6, transcript)).toMatchObject({ gap: null, hasMore: true });
      expect(await page(9, transcript)).toMatchObject({ gap: null, hasMore: false });
      expect(await page(10, transcript)).toMatchObject({ gap: null, hasMore: false, items: [] });
    }

    await database.pool.query('delete from events where run_id = $1', [runId]);
    for (const transcript of [false, true])
      expect(await page(0, transcript)).toEqual({
        items: [],
        runId,
        lastSeq: 10,
        hasMore: false,
        terminal: true,
        nextRunId: null,
        gap: { from: 1, to: 10, reason: 'retention' },
      });
  });
});

describe('partitions that are made ahead', () => {
  it('come with the same maintenance, once', async () => {
    const make = () => as(undefined, (activities) => activities.makeEventPartitions());
    await database.pool.query('drop table if exists events_default cascade');
    await database.pool.query('create table events_default partition of events default');
    for (const { name } of eventPartitions(Date.now())) await database.pool.query(`drop table ${name}`);
    expect(await make()).toEqual(eventPartitions(Date.now()).map(({ name }) => name));
    expect(await make()).toEqual([]);
  });

  it('are not made where too many rows would have to be moved; the others are, and the report says so', async () => {
    const [first, ...others] = eventPartitions(Date.now()).map(({ name }) => name);
    for (const { name } of eventPartitions(Date.now())) await database.pool.query(`drop table ${name}`);
    const runId = await storeLog(database, { runId: runAt(Date.now()) });
    await withClient((client) => storeEvents(client, runId, 50_001));
    const make = as(undefined, (activities) => activities.makeEventPartitions());
    await expect(make).rejects.toMatchObject({
      nonRetryable: true,
      message: expect.stringContaining(`events of ${first ?? ''} are in events_default`),
    });
    expect(await countOf('events_default')).toBe(50_001);
    const made = await rows<{ name: string }>(
      `select relid::text as name from pg_partition_tree('events') where isleaf and relid::text <> 'events_default' order by 1`,
    );
    expect(made.map(({ name }) => name)).toEqual(others);
  });

  it('take the rows that came before them while readers see every event and writers go on', async () => {
    const runs = await Promise.all(
      ['1', '2', '3'].map((suffix) => storeLog(database, { runId: runAt(january, suffix), events: 4_000 })),
    );
    const done = new AbortController();
    let reads = 0;
    const readers = runs.map(async (runId) => {
      while (!done.signal.aborted) {
        const page = await readEvents(database.pool, runId, { afterSeq: 0, limit: 100 });
        expect(page.items.map((event) => event.seq)).toEqual(page.items.map((_, index) => index + 1));
        expect(page).toMatchObject({ gap: null, hasMore: true });
        const feed = await readFeed(database.pool, { after: feedStart }, { events: 100, bytes: 1_000_000 });
        expect(feed.entries).toHaveLength(100);
        reads += 1;
      }
    });
    let written = 0;
    const writer = (async () => {
      while (!done.signal.aborted) {
        try {
          await storeEvents(database.pool, runs[0] ?? '', 1);
          written += 1;
        } catch (error) {
          // Waited for the move for too long: it tries again, as runners do.
          expect(error).toMatchObject({ code: '55P03' });
        }
      }
    })();
    const goesOn = async () => {
      const before = reads;
      await expect.poll(() => reads, { timeout: 20_000 }).toBeGreaterThan(before + 3);
    };
    const moved = async () => {
      await goesOn();
      expect(await makeMonths(january)).toContain('events_2024_01');
      await goesOn();
    };
    const ended = Promise.all([...readers, writer]);
    try {
      await Promise.race([moved(), ended]);
    } finally {
      done.abort();
    }
    await ended;
    expect(written).toBeGreaterThan(0);
    expect(await countOf('events_default')).toBe(0);
    expect(await countOf('events')).toBe(12_000 + written);
  });
});
