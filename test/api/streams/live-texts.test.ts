import { describe, expect, it } from 'vitest';
import { BoundedReads } from '../../../api/streams/bounded-reads.js';
import { DeltaTails, LiveTexts, type SeenText } from '../../../api/streams/delta-tails.js';
import { placeInRun } from '../../../api/streams/log-frames.js';
import { Presence } from '../../../api/streams/presence.js';
import { RunReader } from '../../../api/streams/run-reader.js';
import { RunTail } from '../../../api/streams/run-tail.js';
import { RunTails } from '../../../api/streams/run-tails.js';
import type { StoredDelta } from '../../../store/deltas.js';
import { startTurn } from '../../support/turns.js';
import { useApi } from '../../support/use-api.js';
import { post } from '../support/streams.js';

let deltaId = 0;
const piece = (
  itemId: string,
  offset: number,
  text: string,
  more: Partial<StoredDelta> = {},
): StoredDelta => {
  deltaId += 1;
  return { runId: 'run', deltaId, itemId, offset, text, logSeq: 5, over: false, ...more };
};
const event = (seq: number, type: string, payload: object) => ({
  seq,
  json: JSON.stringify({ seq, eventId: 'e', runId: 'run', attempt: 1, epoch: 1, type, at: 'now', payload }),
});
const message = (seq: number, itemId: string) => event(seq, 'agent_message', { itemId, text: 'all of it' });
const deltasIn = (frames: string) =>
  frames
    .split('\n\n')
    .filter((frame) => frame !== '')
    .map((frame): unknown => JSON.parse(frame.replace('event: delta\ndata: ', '')));

describe('the live texts of a run', () => {
  const taken = (...pieces: StoredDelta[]) => {
    const texts = new LiveTexts();
    texts.asking();
    texts.take(pieces);
    return texts;
  };

  it('are sent to each reader once, what it missed in one piece', () => {
    const texts = taken(piece('a', 0, 'one '), piece('b', 0, 'other '));
    const quick: SeenText = new Map();
    const slow: SeenText = new Map();
    expect(deltasIn(texts.after(quick))).toEqual([
      { itemId: 'a', offset: 0, text: 'one ' },
      { itemId: 'b', offset: 0, text: 'other ' },
    ]);
    expect(texts.after(quick)).toBe('');
    for (const [at, word] of ['two ', 'six ', 'ten '].entries()) {
      texts.asking();
      expect(texts.take([piece('a', 4 + 4 * at, word)])).toBe(true);
      expect(deltasIn(texts.after(quick))).toEqual([{ itemId: 'a', offset: 4 + 4 * at, text: word }]);
    }
    expect(deltasIn(texts.after(slow))).toContainEqual({ itemId: 'a', offset: 0, text: 'one two six ten ' });
  });

  it('go with the event of their item', () => {
    const texts = taken(piece('a', 0, 'one '), piece('b', 0, 'other '));
    texts.passed([message(6, 'a')]);
    expect(deltasIn(texts.after(new Map()))).toEqual([{ itemId: 'b', offset: 0, text: 'other ' }]);
  });

  it('are not taken when the event of their item was read while Postgres was asked, or before', () => {
    const texts = new LiveTexts();
    texts.asking();
    texts.passed([message(6, 'a')]);
    expect(texts.take([piece('a', 0, 'late '), piece('b', 0, 'next ')])).toBe(true);
    texts.asking();
    expect(texts.take([piece('c', 0, 'late ', { over: true })])).toBe(false);
    expect(deltasIn(texts.after(new Map()))).toEqual([{ itemId: 'b', offset: 0, text: 'next ' }]);
  });

  it('go with their attempt; those of the next stay', () => {
    const texts = taken(piece('a', 0, 'old '), piece('b', 0, 'new ', { logSeq: 6 }));
    const begins = event(6, 'attempt_started', { attempt: 2 });
    texts.passed([begins]);
    texts.asking();
    texts.passed([begins]);
    texts.take([piece('a', 4, 'late '), piece('b', 4, 'more ', { logSeq: 7 })]);
    expect(deltasIn(texts.after(new Map()))).toEqual([{ itemId: 'b', offset: 0, text: 'new more ' }]);
  });

  it('are a bounded number', () => {
    const texts = taken(...Array.from({ length: 100 }, (_, at) => piece(`item-${at}`, 0, 'x ')));
    const left = deltasIn(texts.after(new Map()));
    expect(left).toHaveLength(8);
    expect(left.at(-1)).toMatchObject({ itemId: 'item-99' });
  });
});

describe('a reader', async () => {
  const { api, database } = await useApi();
  const { logger } = api.deps;

  it('that has read more than the tail gets no live text until the tail has caught up', async () => {
    const runner = await startTurn(api);
    await post(api, runner, 1, 1);
    const texts = new LiveTexts();
    texts.asking();
    texts.take([piece('item-1', 0, 'message ')]);
    const behind = new RunTail(0, texts);
    const presence = new Presence(api.deps);
    const tails = new RunTails({ ...api.deps, deltas: new DeltaTails({ ...api.deps, presence }) });
    tails.joinIfCovered = () => null;
    tails.join = () => behind;
    tails.leave = () => undefined;
    const shared = { pool: database.pool, reads: new BoundedReads(logger), tails };
    const reader = new RunReader(shared, { runId: runner.runId, cursor: 0, whose: 'test' }, placeInRun);
    const page = await reader.next(new AbortController().signal);
    expect(String(page)).toContain('message 1');
    expect(String(await reader.next(AbortSignal.timeout(200)))).toBe('');
    reader.close();
  });
});
