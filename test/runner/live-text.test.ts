import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ApiError } from '../../client/index.js';
import type { DeltasAnswer, SendDeltas } from '../../contract/deltas.js';
import { createRedactor } from '../../infra/telemetry/redaction.js';
import { LiveText } from '../../runner/supervisor/live-text.js';
import { seededRandom } from '../support/seeded.js';

const key = 'canary-0123456789abcdefghijklmnop';

/** The texts as a reader has them that takes every delta in its order. */
class Reader {
  readonly texts = new Map<string, string>();
  readonly requests: SendDeltas[] = [];

  take(body: SendDeltas): void {
    this.requests.push(body);
    for (const { itemId, offset, text } of body.deltas) {
      const before = this.texts.get(itemId) ?? '';
      expect(offset).toBeLessThanOrEqual(before.length);
      this.texts.set(itemId, before.slice(0, offset) + text);
    }
  }
}

describe('live text', () => {
  let reader: Reader;
  let send: (body: SendDeltas) => Promise<DeltasAnswer>;
  let sends: number;
  let warnings: number;
  let live: LiveText;

  const kept = (body: SendDeltas): Promise<DeltasAnswer> => {
    reader.take(body);
    return Promise.resolve({ accepted: body.deltas.length, watched: true });
  };
  const write = (text: string, itemId = 'msg', restarts = false) => live.add({ itemId, text, restarts });

  beforeEach(() => {
    vi.useFakeTimers();
    reader = new Reader();
    send = kept;
    sends = 0;
    warnings = 0;
    live = new LiveText({
      send: (body) => {
        sends += 1;
        return send(body);
      },
      eventsMade: () => 7,
      redactor: createRedactor([key]),
      log: {
        warn: () => {
          warnings += 1;
        },
      },
    });
    live.watched = true;
  });
  afterEach(() => {
    live.stop();
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  test('what is written within 100 ms goes in one request, with the number of events before it', async () => {
    for (const word of ['I ', 'look ', 'around ', 'firs']) write(word);
    expect(sends).toBe(0);
    await vi.advanceTimersByTimeAsync(100);
    expect(reader.requests).toEqual([
      { after: 7, deltas: [{ itemId: 'msg', offset: 0, text: 'I look around ' }] },
    ]);
    write('t. ');
    await vi.advanceTimersByTimeAsync(100);
    expect(reader.requests[1]?.deltas).toEqual([{ itemId: 'msg', offset: 14, text: 'first. ' }]);
  });

  test('4 KB do not wait', async () => {
    write('a few words '.repeat(350));
    await vi.advanceTimersByTimeAsync(0);
    expect(reader.texts.get('msg')).toHaveLength(4_200);
  });

  test('nothing is sent while nobody watches; whoever begins gets all of what is open', async () => {
    live.watched = false;
    write('one two ');
    write('other ', 'done');
    live.ended('done');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sends).toBe(0);
    live.watched = true;
    await vi.advanceTimersByTimeAsync(100);
    expect([...reader.texts]).toEqual([['msg', 'one two ']]);
    send = () => Promise.resolve({ accepted: 0, watched: false });
    write('three ');
    await vi.advanceTimersByTimeAsync(100);
    write('four ');
    await vi.advanceTimersByTimeAsync(60_000);
    expect([sends, live.watched]).toEqual([2, false]);
    send = kept;
    live.watched = true;
    await vi.advanceTimersByTimeAsync(100);
    expect(reader.texts.get('msg')).toBe('one two three four ');
  });

  test('who begins to watch while a request is under way gets all of it too', async () => {
    let answer: (answer: DeltasAnswer) => void = () => undefined;
    send = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    write('one two ');
    await vi.advanceTimersByTimeAsync(100);
    live.watched = false;
    live.watched = true;
    send = kept;
    answer({ accepted: 1, watched: true });
    await vi.advanceTimersByTimeAsync(100);
    expect(reader.texts.get('msg')).toBe('one two ');
  });

  test('one request at a time: what comes meanwhile goes with the next', async () => {
    let answer: () => void = () => undefined;
    send = async (body) => {
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      return kept(body);
    };
    for (let at = 0; at < 50; at += 1) {
      write(`word-${at} `);
      await vi.advanceTimersByTimeAsync(30);
    }
    write('x '.repeat(10_000));
    expect(sends).toBe(1);
    answer();
    await vi.advanceTimersByTimeAsync(100);
    expect(sends).toBe(2);
    answer();
    await vi.advanceTimersByTimeAsync(0);
    expect(reader.texts.get('msg')).toContain('word-49 x x');
  });

  test('what was not kept comes with the next request; a slow or broken API is left alone for a while', async () => {
    write('one ');
    send = () => Promise.resolve({ accepted: 0, watched: true });
    await vi.advanceTimersByTimeAsync(100);
    send = () => Promise.reject(new Error('away'));
    for (let at = 0; at < 200; at += 1) {
      write('more ');
      await vi.advanceTimersByTimeAsync(50);
    }
    expect(sends).toBeLessThan(10);
    expect(warnings).toBe(1);
    send = kept;
    await vi.advanceTimersByTimeAsync(40_000);
    expect(reader.texts.get('msg')).toBe(`one ${'more '.repeat(200)}`);
  });

  test.each([404, 409])('a refusal with %d is the end of it', async (status) => {
    send = () => Promise.reject(new ApiError({ status, failureKind: 'fenced', message: 'no' }));
    write('one ');
    await vi.advanceTimersByTimeAsync(100);
    write('two ');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sends).toBe(1);
  });

  test('an item that has its event, or that begins again', async () => {
    write('one ');
    live.ended('msg');
    await vi.advanceTimersByTimeAsync(100);
    expect(sends).toBe(0);
    write('first try ', 'again');
    await vi.advanceTimersByTimeAsync(100);
    write('', 'again', true);
    write('second ', 'again');
    await vi.advanceTimersByTimeAsync(100);
    expect(reader.requests.at(-1)?.deltas).toEqual([{ itemId: 'again', offset: 0, text: 'second ' }]);
  });

  test('a long text comes in pieces within the limits, and ends at its bound', async () => {
    write('😀 '.repeat(60_000));
    await vi.advanceTimersByTimeAsync(1_000);
    const pieces = reader.requests.flatMap(({ deltas }) => deltas);
    expect(pieces.length).toBeGreaterThan(3);
    for (const { text } of pieces) {
      expect(text.length).toBeLessThanOrEqual(16_384);
      expect(/\p{Surrogate}/u.test(text)).toBe(false);
    }
    expect(reader.texts.get('msg')?.length).toBeGreaterThan(65_500);
    expect(reader.texts.get('msg')?.length).toBeLessThanOrEqual(65_536);
  });

  test('the joined text is the redacted whole, however it is cut, and shows nothing of a secret on the way', async () => {
    const random = seededRandom(7);
    const whole = `I found ${key} in .env, as ${Buffer.from(key).toString('base64')} and\n"${key}". Nothing more to say. `;
    for (let round = 0; round < 50; round += 1) {
      const itemId = `msg-${round}`;
      for (let at = 0; at < whole.length; ) {
        const length = 1 + Math.floor(random() * 20);
        write(whole.slice(at, at + length), itemId);
        at += length;
        await vi.advanceTimersByTimeAsync(random() * 150);
      }
      await vi.advanceTimersByTimeAsync(200);
      expect(reader.texts.get(itemId)).toBe(createRedactor([key]).text(whole));
      live.ended(itemId);
    }
    const sent = JSON.stringify(reader.requests);
    for (let at = 0; at + 8 <= key.length; at += 1) expect(sent).not.toContain(key.slice(at, at + 8));
  });

  test('text that is slow to look through is looked through less often, also when there is much of it', async () => {
    const redactor = createRedactor([key]);
    const clock = performance.now.bind(performance);
    let spentMs = 0;
    vi.spyOn(performance, 'now').mockImplementation(() => clock() + spentMs);
    const slow = new LiveText({
      send: kept,
      eventsMade: () => 0,
      redactor: {
        ...redactor,
        overlap: 0,
        find: (text) => {
          spentMs += 60;
          return redactor.find(text);
        },
      },
      log: { warn: () => undefined },
    });
    slow.watched = true;
    const startedAt = performance.now();
    for (let at = 0; at < 1_000; at += 1) {
      slow.add({ itemId: 'msg', text: 'some more words '.repeat(4), restarts: false });
      await vi.advanceTimersByTimeAsync(10);
    }
    await vi.advanceTimersByTimeAsync(1_000);
    slow.stop();
    expect(spentMs).toBeGreaterThan(500);
    expect(spentMs / (performance.now() - startedAt)).toBeLessThan(0.1);
    expect(reader.texts.get('msg')).toHaveLength(64_000);
    vi.restoreAllMocks();
  });

  test('a secret that becomes known later is taken back', async () => {
    const redactor = createRedactor();
    const later = new LiveText({
      send: kept,
      eventsMade: () => 0,
      redactor,
      log: { warn: () => undefined },
    });
    later.watched = true;
    later.add({ itemId: 'msg', text: `it is ${key} ok `, restarts: false });
    await vi.advanceTimersByTimeAsync(100);
    redactor.add(key);
    later.add({ itemId: 'msg', text: 'and more ', restarts: false });
    await vi.advanceTimersByTimeAsync(100);
    later.stop();
    expect(reader.texts.get('msg')).toBe('it is [redacted] ok and more ');
  });
});
