import { afterAll, describe, expect, it } from 'vitest';
import { runStreamFrameSchema } from '../../../contract/streams.js';
import { appendEvents } from '../../../store/events.js';
import { withTransaction } from '../../../store/pool.js';
import { startApiProcess } from '../../support/api-process.js';
import { openStream } from '../../support/stream-reader.js';
import { useApi } from '../../support/use-api.js';
import {
  endRun,
  idsFrom,
  lastSeqOf,
  namesOf,
  post,
  runStream,
  storedEvents,
  turnWithEvents,
} from '../support/streams.js';

// The writer is this process, the reader is on another.
const { api, database } = await useApi();
const other = await startApiProcess({ database, keySet: api.keySet });
afterAll(() => other.stop());

describe('the stream of a run', () => {
  it('is what is stored, the word that this was all, what comes, and the end', async () => {
    const runner = await turnWithEvents(api, 3);
    const stored = await lastSeqOf(database, runner.runId);
    const reader = await openStream(other.url, runStream(runner));
    await reader.until('caught-up');
    expect(reader.ids()).toEqual(idsFrom(1, stored));
    expect(reader.frames.at(-1)).toEqual({ frame: 'caught-up', id: null, data: { seq: stored } });
    await post(api, runner, 4, 6);
    await reader.untilTrue(() => reader.ids().length === stored + 3);
    await endRun(database, runner.runId);
    expect(await reader.over).toBe(true);
    const last = await lastSeqOf(database, runner.runId);
    expect(reader.ids()).toEqual(idsFrom(1, last));
    expect(namesOf(reader.frames)).toEqual(['event', 'caught-up', 'event', 'stream-end']);
    expect(reader.frames.at(-1)?.data).toEqual({
      status: 'completed',
      terminalStatus: 'completed',
      lastSeq: last,
    });
    for (const frame of reader.frames) runStreamFrameSchema.parse(frame);
  });

  it('holds the events as GET events answers them', async () => {
    const runner = await turnWithEvents(api, 5);
    const reader = await openStream(other.url, runStream(runner));
    await reader.until('caught-up');
    const events = await storedEvents(api, runner.runId);
    expect(reader.frames.filter(({ frame }) => frame === 'event').map(({ data }) => data)).toEqual(events);
    await reader.close();
  });

  it('of a run that has ended ends at once', async () => {
    const runner = await turnWithEvents(api, 2);
    await endRun(database, runner.runId);
    const reader = await openStream(other.url, runStream(runner));
    expect(await reader.over).toBe(true);
    expect(namesOf(reader.frames)).toEqual(['event', 'caught-up', 'stream-end']);
  });

  it('does not end with a terminal status, but with the log', async () => {
    const { runId } = await turnWithEvents(api, 1);
    const reader = await openStream(other.url, runStream({ runId }));
    await reader.until('caught-up');
    await database.pool.query(
      `update runs set status = 'completed', terminal_status = 'completed', is_open = false where run_id = $1`,
      [runId],
    );
    const append = (text: string) =>
      withTransaction(database.pool, (tx) =>
        appendEvents(tx, runId, 1, [
          { type: 'terminal_status', payload: { terminalStatus: 'completed' } },
          { type: 'agent_message', payload: { text } },
        ]),
      );
    await append('after the end');
    await reader.untilTrue((frames) => JSON.stringify(frames).includes('after the end'));
    await append('still after');
    await reader.untilTrue((frames) => JSON.stringify(frames).includes('still after'));
    expect(namesOf(reader.frames)).toEqual(['event', 'caught-up', 'event']);
    await database.pool.query('update run_log set closed_at = now() where run_id = $1', [runId]);
    expect(await reader.over).toBe(true);
    expect(reader.frames.at(-1)?.frame).toBe('stream-end');
    expect(reader.ids()).toEqual(idsFrom(1, await lastSeqOf(database, runId)));
  });

  it('ends when its run is deleted', async () => {
    const runner = await turnWithEvents(api, 1);
    const reader = await openStream(other.url, runStream(runner));
    await reader.until('caught-up');
    await database.pool.query('update sessions set deleted_at = now() where session_id = $1', [
      runner.sessionId,
    ]);
    await reader.until('stream-end');
    expect(reader.frames.at(-1)?.data).toEqual({
      status: 'deleted',
      terminalStatus: null,
      lastSeq: Number(reader.ids().at(-1)),
    });
  });

  it('names what retention has dropped, and goes on', async () => {
    const runner = await turnWithEvents(api, 20);
    const last = await lastSeqOf(database, runner.runId);
    await database.pool.query(
      'delete from events where run_id = $1 and (seq <= 3 or seq between 6 and 9 or seq > $2)',
      [runner.runId, last - 2],
    );
    const gap = (from: number, to: number) => ({ from, to, reason: 'retention' });
    const gapsOf = async (query: string) => {
      const reader = await openStream(other.url, runStream(runner, query));
      await reader.until('caught-up');
      const gaps = reader.frames.filter(({ frame }) => frame === 'gap').map(({ data }) => data);
      return { reader, gaps };
    };
    const all = await gapsOf('');
    expect(all.gaps).toEqual([gap(1, 3), gap(6, 9), gap(last - 1, last)]);
    expect(all.reader.ids()).toEqual([...idsFrom(4, 5), ...idsFrom(10, last - 2)]);
    // Within a gap: what is missing behind the cursor.
    const within = await gapsOf('?after=7');
    expect(within.gaps).toEqual([gap(8, 9), gap(last - 1, last)]);
    await post(api, runner, 21, 22);
    await all.reader.untilTrue(() => all.reader.ids().at(-1) === String(last + 2));
    await within.reader.untilTrue(() => within.reader.ids().at(-1) === String(last + 2));
    expect(all.reader.frames.filter(({ frame }) => frame === 'gap').length).toBe(3);
    await all.reader.close();
    await within.reader.close();
  });

  it('is never compressed, kept or held back', async () => {
    const runner = await turnWithEvents(api, 1);
    const headers = { 'accept-encoding': 'gzip, br, deflate' };
    const reader = await openStream(other.url, runStream(runner), { headers });
    expect(reader.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache, no-transform',
      'x-accel-buffering': 'no',
    });
    expect('content-encoding' in reader.headers).toBe(false);
    await reader.close();
    const head = await fetch(`${other.url}${runStream(runner)}`, {
      method: 'HEAD',
      headers: { authorization: 'Bearer agr_admin_0123456789abcdef' },
    });
    expect([head.status, head.headers.get('content-type')]).toEqual([
      200,
      'text/event-stream; charset=utf-8',
    ]);
  });
});
