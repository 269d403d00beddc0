import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { startApiProcess } from '../../support/api-process.js';
import { seededRandom } from '../../support/seeded.js';
import { openStream } from '../../support/stream-reader.js';
import { postEvents, startTurn } from '../../support/turns.js';
import { useApi } from '../../support/use-api.js';
import {
  endRun,
  idsFrom,
  lastSeqOf,
  post,
  runStream,
  sessionStream,
  turnWithEvents,
} from '../support/streams.js';

// The writer is this process, the readers are on another.
const { api, database } = await useApi();
const other = await startApiProcess({
  database,
  keySet: api.keySet,
  env: {
    AGENTRUN_STREAM_BUFFER_BYTES: '65536',
    AGENTRUN_STREAM_SLOW_MS: '500',
    AGENTRUN_STREAMS_PER_RUN: '1000',
    AGENTRUN_STREAMS_PER_TOKEN: '1000',
  },
});
afterAll(() => other.stop());

describe('readers that come while events are written', () => {
  it.each([1, 2, 3])('have each event once and in order (seed %i)', async (seed) => {
    const random = seededRandom(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    const runner = await startTurn(api);
    const events = 400;
    const write = async () => {
      for (let sent = 0; sent < events; ) {
        const count = Math.min(1 + below(12), events - sent);
        await post(api, runner, sent + 1, sent + count);
        sent += count;
        if (random() < 0.2) await sleep(below(20));
      }
      await endRun(database, runner.runId);
    };
    const read = async () => {
      await sleep(below(400));
      const stored = await lastSeqOf(database, runner.runId);
      const from = below(stored + 1);
      const ids: string[] = [];
      // Leaves and comes back a few times, at its last id.
      for (let stays = 4; ; stays -= 1) {
        const reader = await openStream(other.url, runStream(runner, `?after=${ids.at(-1) ?? from}`));
        const wanted = stays === 0 ? Infinity : 1 + below(120);
        await reader.untilTrue(
          (frames) => frames.length >= wanted || frames.at(-1)?.frame === 'stream-end',
          30_000,
        );
        const isOver = reader.frames.at(-1)?.frame === 'stream-end';
        await reader.close();
        ids.push(...reader.ids());
        if (isOver) return { from, ids };
      }
    };
    const [, ...readers] = await Promise.all([write(), ...Array.from({ length: 12 }, read)]);
    const last = await lastSeqOf(database, runner.runId);
    for (const { from, ids } of readers) expect(ids).toEqual(idsFrom(from + 1, last));
  });
});

describe('without wake-ups', () => {
  it('everything comes within three seconds', async () => {
    const silent = vi.spyOn(api.deps.notifier, 'notify').mockImplementation(() => undefined);
    try {
      const runner = await turnWithEvents(api, 1);
      const run = await openStream(other.url, runStream(runner));
      const session = await openStream(other.url, sessionStream(runner));
      for (const reader of [run, session]) await reader.until('caught-up');
      for (const round of [2, 3, 4]) {
        await post(api, runner, round, round);
        const last = await lastSeqOf(database, runner.runId);
        await Promise.all([
          run.untilTrue(() => run.ids().at(-1) === String(last), 3_000),
          session.untilTrue(() => session.ids().at(-1) === `1.${last}`, 3_000),
        ]);
      }
      await endRun(database, runner.runId);
      await run.until('stream-end', 3_000);
      await turnWithEvents(api, 1, runner.sessionId);
      await session.untilTrue(() => session.ids().some((id) => id.startsWith('2.')), 3_000);
      await session.close();
    } finally {
      silent.mockRestore();
    }
  });
});

describe('a reader that takes nothing', () => {
  it('is cut off, slows nobody, and loses nothing when it comes back', async () => {
    const runner = await startTurn(api);
    const slow = await openStream(other.url, runStream(runner), { paused: true });
    const quick = await openStream(other.url, runStream(runner));
    await quick.until('caught-up');
    // More than the sockets between them hold; random, so that nothing is smaller where it is stored.
    const lines = (from: number) =>
      Array.from({ length: 5 }, (_, index) => ({
        seq: from + index,
        event: { type: 'agent_message', payload: { text: randomBytes(350_000).toString('hex') } },
      }));
    for (let seq = 1; seq <= 40; seq += 5) {
      const answer = await postEvents(api, runner, lines(seq));
      expect(answer.status).toBe(200);
      const last = await lastSeqOf(database, runner.runId);
      await quick.untilTrue(() => quick.ids().at(-1) === String(last), 5_000);
    }
    await vi.waitFor(
      async () =>
        expect(await other.metrics()).toContain(
          'agentrun_streams_ended_total{operation="streamRun",reason="slow"} 1\n',
        ),
      { timeout: 10_000, interval: 100 },
    );
    slow.resume();
    await slow.over;
    const last = await lastSeqOf(database, runner.runId);
    expect(slow.ids().length).toBeLessThan(last);
    const headers = { 'last-event-id': slow.ids().at(-1) ?? '0' };
    const back = await openStream(other.url, runStream(runner), { headers });
    await back.until('caught-up', 20_000);
    expect([...slow.ids(), ...back.ids()]).toEqual(idsFrom(1, last));
    expect(quick.ids()).toEqual(idsFrom(1, last));
    for (const reader of [back, quick]) await reader.close();
  });
});
