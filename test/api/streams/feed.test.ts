import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { feedFrameSchema } from '../../../contract/streams.js';
import { appendEvents } from '../../../store/events.js';
import { encodeFeedCursor, feedBefore } from '../../../store/feed-position.js';
import { type Transaction, withTransaction } from '../../../store/pool.js';
import { apiTokens } from '../../support/api.js';
import { type ApiProcess, startApiProcess } from '../../support/api-process.js';
import { storeEvents, storeLog } from '../../support/log-rows.js';
import { seededRandom } from '../../support/seeded.js';
import { openStream, type ReceivedFrame, type StreamReader } from '../../support/stream-reader.js';
import { useApi } from '../../support/use-api.js';

const { api, database } = await useApi();
/** The reader's process; the writer is this one. */
const other: ApiProcess = await startApiProcess({ database, keySet: api.keySet });
afterAll(() => other.stop());

const acme = apiTokens.find(({ tenantId }) => tenantId === 'acme')?.token ?? '';
const openFeed = (
  asked: { after?: string; start?: 'latest'; token?: string } = {},
): Promise<StreamReader> => {
  const query = new URLSearchParams();
  if (asked.after !== undefined) query.set('after', asked.after);
  if (asked.start !== undefined) query.set('start', asked.start);
  return openStream(
    other.url,
    `/api/v1/feed?${query.toString()}`,
    asked.token === undefined ? {} : { token: asked.token },
  );
};
/** Cursors of all events, or of those of a tenant, as the table has them. */
async function cursorsInTable(tenantId: string | null = null): Promise<string[]> {
  const { rows } = await database.pool.query<{ xid: string; run_id: string; seq: number }>(
    `select e.xid::text, e.run_id, e.seq from events e join runs r using (run_id)
      where ($1::text is null or r.tenant_id = $1) order by e.xid, e.run_id, e.seq`,
    [tenantId],
  );
  return rows.map((row) => encodeFeedCursor({ xid: row.xid, runId: row.run_id, seq: row.seq }));
}
const seqOf = (frames: readonly ReceivedFrame[], name: string) =>
  z.object({ seq: z.string() }).parse(frames.find(({ frame }) => frame === name)?.data).seq;
const wakeUp = (runId: string) => api.deps.notifier.notify('agentrun_run', runId);
const append = (tx: Transaction, runId: string, count = 1) =>
  appendEvents(
    tx,
    runId,
    1,
    Array.from({ length: count }, (_, index) => ({
      type: 'agent_message' as const,
      payload: { itemId: `i${index}`, text: 'text' },
    })),
  );
/** Transactions that a test that failed has left open. */
const open = new Set<Transaction>();
afterEach(async () => {
  for (const tx of open) {
    await tx.query('rollback');
    tx.release();
  }
  open.clear();
});
/** A transaction that is begun and given its number. */
async function begin(): Promise<{
  readonly tx: Transaction;
  readonly end: (how: 'commit' | 'rollback') => Promise<void>;
}> {
  const tx = await database.pool.connect();
  open.add(tx);
  await tx.query('begin');
  await tx.query('select pg_current_xact_id()');
  return {
    tx,
    end: async (how) => {
      open.delete(tx);
      await tx.query(how);
      tx.release();
    },
  };
}

describe('the feed of the installation', () => {
  it('has every event with whose it is, those that are stored, then those that come', async () => {
    const runId = await storeLog(database, { events: 3 });
    const reader = await openFeed();
    await reader.until('caught-up');
    await storeEvents(database.pool, runId, 2);
    wakeUp(runId);
    const all = await cursorsInTable();
    await reader.untilTrue(() => reader.ids().length === all.length);
    expect(reader.ids()).toEqual(all);
    const frames = reader.frames.map(({ id, ...frame }) =>
      feedFrameSchema.parse(id === null ? frame : { ...frame, id }),
    );
    expect(frames.map(({ frame }) => frame)).toEqual([
      'event',
      'event',
      'event',
      'caught-up',
      'event',
      'event',
    ]);
    const first = frames[0];
    if (first?.frame !== 'event') throw new Error('no event');
    const { tenantId, projectId, sessionId, ...event } = first.data;
    expect({ tenantId, projectId }).toEqual({ tenantId: 'acme', projectId: 'web' });
    const page = await api.call('GET', `/api/v1/runs/${runId}/events?limit=1`);
    expect(page.body.data).toMatchObject({ items: [event] });
    expect(sessionId).toMatch(/^sess_/);
    await reader.close();
  });

  it('begins with what comes when it is asked for the latest, also when nothing is stored later', async () => {
    const runId = await storeLog(database, { events: 2 });
    const reader = await openFeed({ start: 'latest' });
    await reader.until('caught-up');
    expect(reader.ids()).toEqual([]);
    await storeEvents(database.pool, runId, 1);
    await reader.untilTrue(() => reader.ids().length === 1);
    expect(reader.ids()).toEqual((await cursorsInTable()).slice(-1));
    await reader.close();
  });

  it('loses nothing to two transactions that commit in the other order than they began', async () => {
    const [early, late] = [await storeLog(database), await storeLog(database)];
    const start = await openFeed({ start: 'latest' });
    const cursor = seqOf(await start.until('caught-up'), 'caught-up');

    const first = await begin();
    const second = await begin();
    await append(first.tx, early, 2);
    await append(second.tx, late, 2);
    await second.end('commit');
    wakeUp(late);
    // Longer than a poll: who read past the open transaction would have the later one by now.
    await sleep(1_500);
    expect(start.ids()).toEqual([]);
    // Taken between the two commits, from a reader that has been told all that it can be told.
    const between = await openFeed({ after: cursor });
    const cursorBetween = seqOf(await between.until('caught-up'), 'caught-up');
    expect(between.ids()).toEqual([]);
    await first.end('commit');
    wakeUp(early);

    const all = await cursorsInTable();
    const expected = all.slice(-4);
    const after = await openFeed({ after: cursorBetween });
    for (const reader of [start, between, after]) {
      await reader.untilTrue(() => reader.ids().length >= 4);
      expect(reader.ids()).toEqual(expected);
      await reader.close();
    }
    const runs = after.frames.flatMap(({ data }) => ('runId' in data ? [data.runId] : []));
    expect(runs).toEqual([early, early, late, late]);
  });

  it('has the events of a run in the order of their seq, whichever of two writers was given its number first', async () => {
    const runId = await storeLog(database);
    const waited = await begin();
    await withTransaction(database.pool, (tx) => append(tx, runId, 2));
    await append(waited.tx, runId, 2);
    await waited.end('commit');
    const reader = await openFeed();
    await reader.until('caught-up');
    const seqs = reader.frames.flatMap(({ data }) => (data.runId === runId ? [data.seq] : []));
    expect(seqs).toEqual([1, 2, 3, 4]);
    await reader.close();
  });

  it('waits for a transaction that stays open, loses nothing to it and goes on within a poll of its end', async () => {
    const runId = await storeLog(database);
    const reader = await openFeed({ start: 'latest' });
    await reader.until('caught-up');
    const longOpen = await begin();
    for (let count = 0; count < 5; count += 1) await storeEvents(database.pool, runId, 10);
    const held = await openFeed({ start: 'latest' });
    await held.until('caught-up');
    await sleep(1_500);
    expect(reader.ids()).toEqual([]);
    // No wake-up: the end of a transaction that wrote no event has none.
    await longOpen.end('rollback');
    for (const each of [reader, held]) {
      await each.untilTrue(() => each.ids().length === 50, 3_000);
      expect(each.ids()).toEqual((await cursorsInTable()).slice(-50));
      await each.close();
    }
  });

  it('shows a tenant its own events, and no cursor that names another one', async () => {
    const mine = await storeLog(database, { events: 3 });
    const theirs = await storeLog(database, { events: 2_500, tenantId: 'other' });
    await storeEvents(database.pool, mine, 2);
    await storeEvents(database.pool, theirs, 1);
    const reader = await openFeed({ token: acme });
    await reader.until('caught-up');
    expect(reader.ids()).toEqual(await cursorsInTable('acme'));
    expect(reader.frames.every(({ data }) => 'seq' in data && data.tenantId !== 'other')).toBe(true);

    const cursor = seqOf(reader.frames, 'caught-up');
    const named = Buffer.from(cursor, 'base64url').toString();
    expect(named).not.toContain('run_');
    await storeEvents(database.pool, theirs, 3);
    await storeEvents(database.pool, mine, 1);
    wakeUp(mine);
    const next = await openFeed({ after: cursor, token: acme });
    for (const each of [reader, next]) {
      await each.untilTrue(() => each.ids().at(-1) !== undefined && each.ids().length > 0);
      await each.untilTrue(() => each.frames.at(-1)?.data.runId === mine || each.ids().length > 0);
    }
    const all = await cursorsInTable('acme');
    await reader.untilTrue(() => reader.ids().length === all.length);
    expect(reader.ids()).toEqual(all);
    expect(next.ids()).toEqual(all.slice(-1));
    await reader.close();
    await next.close();
  });

  it('leaves out a session that is being deleted', async () => {
    const runId = await storeLog(database, { events: 1 });
    await database.pool.query(
      'update sessions set deleted_at = now() where session_id = (select session_id from runs where run_id = $1)',
      [runId],
    );
    const reader = await openFeed();
    await reader.until('caught-up');
    expect(reader.frames.filter(({ data }) => data.runId === runId)).toEqual([]);
    await reader.close();
    await database.pool.query('delete from events where run_id = $1', [runId]);
  });

  it('says that events are gone to a reader who had not read them, and to nobody else', async () => {
    const runId = await storeLog(database, { events: 4 });
    const all = await cursorsInTable();
    const [before, last] = [all.at(-4), all.at(-1)];
    const { rows } = await database.pool.query<{ xid: string }>(
      'select xid::text from events where run_id = $1 order by seq desc limit 1',
      [runId],
    );
    const xid = rows[0]?.xid ?? '';
    await storeEvents(database.pool, runId, 2);
    await withTransaction(database.pool, async (tx) => {
      await tx.query('delete from events where run_id = $1 and seq <= 4', [runId]);
      await tx.query(
        `insert into dropped_events (partition, last_xid, last_run_id, last_seq) values ('events_default', $1::xid8, $2, 4)`,
        [xid, runId],
      );
    });
    const expected = (await cursorsInTable()).slice(-2);
    const behind = await openFeed({ after: before ?? '' });
    await behind.until('caught-up');
    expect(behind.frames.map(({ frame }) => frame)).toEqual(['gap', 'event', 'event', 'caught-up']);
    expect(behind.frames[0]?.data).toEqual({
      from: before,
      to: encodeFeedCursor(feedBefore((BigInt(xid) + 1n).toString())),
      reason: 'retention',
    });
    expect(behind.ids()).toEqual(expected);
    const ahead = await openFeed({ after: last ?? '' });
    const latest = await openFeed({ start: 'latest' });
    for (const reader of [ahead, latest]) await reader.until('caught-up');
    expect([...ahead.frames, ...latest.frames].filter(({ frame }) => frame === 'gap')).toEqual([]);
    expect(ahead.ids()).toEqual(expected);
    for (const reader of [behind, ahead, latest]) await reader.close();
    await database.pool.query('delete from dropped_events');
  });

  it.each([
    { title: 'what is no cursor', cursor: 'what' },
    { title: 'a cursor of another stream', cursor: '17' },
    { title: 'a cursor of another version', cursor: Buffer.from('2.5..0').toString('base64url') },
    {
      title: 'a number that Postgres does not have',
      cursor: Buffer.from('1.99999999999999999999..0').toString('base64url'),
    },
  ])('refuses $title', async ({ cursor }) => {
    const answer = await api.call('GET', `/api/v1/feed?after=${cursor}`);
    expect(answer.status).toBe(400);
    expect(answer.body).toMatchObject({ failureKind: 'schema-invalid' });
  });

  it('refuses a cursor that it cannot have given', async () => {
    const answer = await api.call('GET', `/api/v1/feed`, {
      headers: { 'last-event-id': encodeFeedCursor(feedBefore('999999999999')) },
    });
    expect(answer.status).toBe(409);
    expect(answer.body).toMatchObject({
      failureKind: 'cursor-ahead',
      // No cursor of another place: nobody can read it.
      message: expect.stringMatching(/^the cursor is beyond the last event of this stream: it is of another/),
    });
  });
});

describe('many writers and readers of the feed', () => {
  const seed = Number(process.env.FEED_SEED ?? Date.now() % 1_000_000);

  /** Writes in transactions that overlap: some roll back, some wait for each other at the same log. */
  async function write(runIds: readonly string[], random: () => number): Promise<void> {
    for (let count = 0; count < 25; count += 1) {
      const runId = runIds[Math.floor(random() * runIds.length)] ?? '';
      const { tx, end } = await begin();
      await sleep(random() * 20);
      const events = 1 + Math.floor(random() * 4);
      await append(tx, runId, events);
      await sleep(random() * 40);
      await end(random() < 0.25 ? 'rollback' : 'commit');
      if (random() < 0.7) wakeUp(runId);
    }
  }

  async function inTime<T>(what: string, work: Promise<T>): Promise<T> {
    const limit = new AbortController();
    const late = sleep(15_000, undefined, { signal: limit.signal }).then(() => {
      throw new Error(`${what} takes more than 15 s`);
    });
    try {
      return await Promise.race([work, late]);
    } finally {
      limit.abort();
      late.catch(() => undefined);
    }
  }

  /** Reads with connections that are cut again and again; goes on where it was, at its last event or where it was told that this was all. */
  async function read(total: () => number, random: () => number, token: string): Promise<string[]> {
    const joined: string[] = [];
    let after: string | undefined;
    const deadline = performance.now() + 90_000;
    while (joined.length < total()) {
      if (performance.now() > deadline) throw new Error(`${joined.length} of ${total()} events after 90 s`);
      const wanted = Math.floor(random() * 30);
      const reader = await inTime(
        'opening the feed',
        openFeed({ token, ...(after === undefined ? {} : { after }) }),
      );
      await reader
        .untilTrue(() => reader.ids().length >= wanted && reader.frames.length > 0, 200 + random() * 800)
        .catch(() => undefined);
      await inTime('leaving the feed', reader.close());
      joined.push(...reader.ids());
      const caughtUp = reader.frames.findIndex(({ frame }) => frame === 'caught-up');
      const lastEvent = reader.frames.findLastIndex(({ id }) => id !== null);
      after = caughtUp > lastEvent ? seqOf(reader.frames, 'caught-up') : (reader.ids().at(-1) ?? after);
    }
    return joined;
  }

  it(`each reader has the table, in its order, once (FEED_SEED=${seed})`, async () => {
    const runIds: string[] = [];
    for (let count = 0; count < 6; count += 1)
      runIds.push(await storeLog(database, { tenantId: count % 2 === 0 ? 'acme' : 'other' }));
    const admin = apiTokens.find(({ name }) => name === 'reader')?.token ?? '';
    let [total, ofAcme] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    const readers = Array.from({ length: 5 }, (_, index) =>
      index < 3
        ? read(() => total, seededRandom(seed + index), admin)
        : read(() => ofAcme, seededRandom(seed + index), acme),
    );
    const writers = Array.from({ length: 6 }, (_, index) => write(runIds, seededRandom(seed + 100 + index)));
    // Readers do not end before the writers, unless one fails.
    await Promise.race([Promise.all(writers), Promise.all(readers)]);
    const [all, acmes] = [await cursorsInTable(), await cursorsInTable('acme')];
    [total, ofAcme] = [all.length, acmes.length];
    const joined = await Promise.all(readers);
    for (const [index, cursors] of joined.entries()) expect(cursors).toEqual(index < 3 ? all : acmes);
  }, 120_000);
});
