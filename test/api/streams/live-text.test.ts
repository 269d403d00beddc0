import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { deltasAnswerSchema } from '../../../contract/deltas.js';
import { commandPageSchema } from '../../../contract/runners.js';
import { runStreamFrameSchema } from '../../../contract/streams.js';
import { startApiProcess } from '../../support/api-process.js';
import { openStream } from '../../support/stream-reader.js';
import { postEvents, type ServingRunner, startTurn } from '../../support/turns.js';
import { useApi } from '../../support/use-api.js';
import { endRun, lastSeqOf, runStream } from '../support/streams.js';

// The runner speaks to this process, the readers are on two others.
const { api, database } = await useApi();
const [other, third] = await Promise.all([
  startApiProcess({ database, keySet: api.keySet }),
  startApiProcess({ database, keySet: api.keySet }),
]);
afterAll(() => Promise.all([other.stop(), third.stop()]));

type Reader = Awaited<ReturnType<typeof openStream>>;
const deltaSchema = z.object({ itemId: z.string(), offset: z.number(), text: z.string() });

/** The texts of the items as a reader has them, from its deltas alone. */
function textsOf({ frames }: Reader): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const { frame, data } of frames) {
    if (frame !== 'delta') continue;
    const { itemId, offset, text } = deltaSchema.parse(data);
    texts[itemId] = (texts[itemId] ?? '').slice(0, offset).padEnd(offset, '?') + text;
  }
  return texts;
}

/** Live text reaches the readers of the run from here on. */
async function untilWatched({ runId, runToken }: ServingRunner): Promise<void> {
  const path = `/api/v1/runs/${runId}/commands?afterSeq=1&waitMs=10000&watched=false`;
  const page = await api.data(commandPageSchema, 'GET', path, { token: runToken });
  expect(page.watched).toBe(true);
}

async function write(runner: ServingRunner, itemId: string, offset: number, text: string, after = 0) {
  const path = `/api/v1/runs/${runner.runId}/deltas`;
  const body = { after, deltas: [{ itemId, offset, text }] };
  return api.data(deltasAnswerSchema, 'POST', path, { token: runner.runToken, body });
}

const message = (seq: number, itemId: string, text: string) => ({
  seq,
  event: { type: 'agent_message', payload: { itemId, text } },
});

describe('live text', () => {
  it('grows for a reader on another process, then gives way to the message', async () => {
    const runner = await startTurn(api);
    const reader = await openStream(other.url, runStream(runner));
    await reader.until('caught-up');
    await untilWatched(runner);
    const words = Array.from({ length: 30 }, (_, at) => `word-${at} `);
    let text = '';
    for (const word of words) {
      expect(await write(runner, 'msg', text.length, word)).toEqual({ accepted: 1, watched: true });
      text += word;
      if (text.length % 5 === 0) await reader.untilTrue(() => textsOf(reader).msg === text);
    }
    await reader.untilTrue(() => textsOf(reader).msg === text);
    await postEvents(api, runner, [message(1, 'msg', `${text}end`)]);
    await reader.untilTrue((frames) => JSON.stringify(frames).includes('word-29 end'));
    // None of it moves the cursor.
    expect(reader.ids()).toEqual(
      Array.from({ length: await lastSeqOf(database, runner.runId) }, (_, at) => String(at + 1)),
    );
    expect(reader.frames.filter(({ frame }) => frame === 'delta').length).toBeGreaterThan(2);
    for (const frame of reader.frames) {
      runStreamFrameSchema.parse(frame);
      if (frame.frame === 'delta') expect(frame.id).toBeNull();
    }
    await endRun(database, runner.runId);
    await reader.over;
  });

  it('never follows the message that it belongs to', async () => {
    const runner = await startTurn(api);
    const readers = await Promise.all(
      Array.from({ length: 6 }, (_, at) => openStream(at < 3 ? other.url : third.url, runStream(runner))),
    );
    await Promise.all(readers.map((reader) => reader.until('caught-up')));
    await untilWatched(runner);
    for (let item = 1; item <= 25; item += 1) {
      const itemId = `msg-${item}`;
      await write(runner, itemId, 0, 'one ', item - 1);
      // A piece that is under way when the message comes, and one that says that it is older.
      const posted = postEvents(api, runner, [message(item, itemId, 'one two three')]);
      await Promise.all([posted, write(runner, itemId, 4, 'two ', item - 1)]);
      expect(await write(runner, itemId, 8, 'three ', item - 1)).toEqual({ accepted: 0, watched: true });
    }
    for (const reader of readers) {
      // Pieces of the last message come before it.
      await reader.untilTrue((frames) =>
        frames.some(({ frame, data }) => frame === 'event' && JSON.stringify(data).includes('"msg-25"')),
      );
      const ended = new Set<string>();
      for (const { frame, data } of reader.frames) {
        if (frame === 'delta') expect(ended).not.toContain(deltaSchema.parse(data).itemId);
        if (frame !== 'event') continue;
        const event = z
          .looseObject({ payload: z.looseObject({ itemId: z.string().optional() }) })
          .parse(data);
        if (event.payload.itemId !== undefined) ended.add(event.payload.itemId);
      }
      expect(ended.size).toBe(25);
      await reader.close();
    }
  });

  it('is whole for who comes in the middle, here and on a third process, and not there of messages that have come', async () => {
    const runner = await startTurn(api);
    const first = await openStream(other.url, runStream(runner));
    await first.until('caught-up');
    await untilWatched(runner);
    await write(runner, 'done', 0, 'all of it ');
    await first.untilTrue(() => textsOf(first).done === 'all of it ');
    await postEvents(api, runner, [message(1, 'done', 'all of it.')]);
    await write(runner, 'msg', 0, 'I look ', 1);
    await write(runner, 'msg', 7, 'around ', 1);
    for (const url of [other.url, third.url]) {
      for (const query of ['', '?start=latest']) {
        const late = await openStream(url, runStream(runner, query));
        await late.untilTrue(() => textsOf(late).msg === 'I look around ');
        expect(textsOf(late)).toEqual({ msg: 'I look around ' });
        expect(late.frames.findIndex(({ frame }) => frame === 'delta')).toBeGreaterThan(
          late.frames.findIndex(({ frame }) => frame === 'caught-up'),
        );
        await late.close();
      }
    }
    await first.close();
  });

  it('of an item that begins again, or of which a piece is missing, has the right offsets', async () => {
    const runner = await startTurn(api);
    const reader = await openStream(other.url, runStream(runner));
    await reader.until('caught-up');
    await untilWatched(runner);
    await write(runner, 'msg', 0, 'first try ');
    await reader.untilTrue(() => textsOf(reader).msg === 'first try ');
    await write(runner, 'msg', 0, 'second ');
    await reader.untilTrue(() => textsOf(reader).msg === 'second ');
    await write(runner, 'msg', 3, 'ret ');
    await reader.untilTrue(() => textsOf(reader).msg === 'secret ');
    await write(runner, 'msg', 10, 'later ');
    await reader.untilTrue(() => textsOf(reader).msg === 'secret ???later ');
    await reader.close();
  });

  it('of an attempt that was replaced is not shown with the next', async () => {
    const runner = await startTurn(api);
    const first = await openStream(other.url, runStream(runner));
    await first.until('caught-up');
    await untilWatched(runner);
    await write(runner, 'msg', 0, 'half of ');
    await first.untilTrue(() => textsOf(first).msg === 'half of ');
    await postEvents(api, runner, [{ seq: 1, event: { type: 'attempt_started', payload: { attempt: 2 } } }]);
    await first.untilTrue((frames) => JSON.stringify(frames).includes('attempt_started'));
    await write(runner, 'new', 0, 'again ', 1);
    for (const url of [other.url, third.url]) {
      const late = await openStream(url, runStream(runner));
      await late.untilTrue(() => textsOf(late).new === 'again ');
      expect(textsOf(late)).toEqual({ new: 'again ' });
      await late.close();
    }
    await first.close();
  });

  it('is in the stream of the session too', async () => {
    const runner = await startTurn(api);
    const reader = await openStream(other.url, `/api/v1/sessions/${runner.sessionId}/stream`);
    await reader.until('caught-up');
    await untilWatched(runner);
    await write(runner, 'msg', 0, 'I look ');
    await reader.untilTrue(() => textsOf(reader).msg === 'I look ');
    await reader.close();
  });

  it('is not wanted any more when the run ends, or when its last reader has left', async () => {
    const watchers = async (runId: string) =>
      (await database.pool.query('select 1 from run_watchers where run_id = $1', [runId])).rows.length;
    const left = await startTurn(api);
    const reader = await openStream(other.url, runStream(left));
    await untilWatched(left);
    await reader.close();
    await expect.poll(() => watchers(left.runId), { timeout: 10_000 }).toBe(0);
    const ended = await startTurn(api);
    const session = await openStream(other.url, `/api/v1/sessions/${ended.sessionId}/stream`);
    await untilWatched(ended);
    await endRun(database, ended.runId);
    await expect.poll(() => watchers(ended.runId), { timeout: 10_000 }).toBe(0);
    await session.close();
  });

  it('ends for the runner with a process that is stopped', async () => {
    const runner = await startTurn(api);
    const leaving = await startApiProcess({ database, keySet: api.keySet });
    const reader = await openStream(leaving.url, runStream(runner));
    await untilWatched(runner);
    await leaving.stop();
    await reader.close();
    expect(await write(runner, 'msg', 0, 'nobody ')).toEqual({ accepted: 0, watched: false });
  });
});
