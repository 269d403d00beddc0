import { describe, expect, test, vi } from 'vitest';
import { stopGraceMs } from '../../activities/runners.js';
import { ApiError, ConnectionError } from '../../client/index.js';
import type { ProducedEvent } from '../../contract/events.js';
import {
  completionLineSchema,
  type IngestConflict,
  ingestLimits,
  ingestLineSchema,
} from '../../contract/ingest.js';
import { batchLimits } from '../../infra/spill/spill-files.js';
import { spillLimits } from '../../infra/spill/spill-lines.js';
import { memoryLimits } from '../../runner/supervisor/event-queue.js';
import { EventUploader, lastingRefusal, requestTimeoutMs } from '../../runner/supervisor/event-uploader.js';
import { maxEventBytes } from '../../runner/supervisor/queued-event.js';
import { stopLimits } from '../../runner/supervisor/stop-limits.js';

type Answer = (seqs: number[], events: ProducedEvent[], finalSeq?: number) => Promise<number> | number;

/** An uploader against a server that is one function; it answers the last accepted sequence or throws. */
function uploader(
  answer: Answer,
  how: { refreshToken?: () => Promise<void>; left?: { accepted: number; waiting: number } } = {},
) {
  const stored: ProducedEvent[] = [];
  const requests: number[][] = [];
  const completions: number[] = [];
  const fenced: string[] = [];
  const warned: Record<string, unknown>[] = [];
  const { left } = how;
  const subject = new EventUploader({
    send: async (lines) => {
      const parsed = lines.split('\n').filter((line) => line !== '');
      const completion = completionLineSchema.safeParse(JSON.parse(parsed.at(-1) ?? 'null')).data;
      if (completion !== undefined) parsed.pop();
      const sent = parsed.map((line) => ingestLineSchema.parse(JSON.parse(line)));
      const seqs = sent.map((line) => line.seq);
      requests.push(seqs);
      expect(sent.length).toBeLessThanOrEqual(ingestLimits.eventsPerRequest);
      expect(lines.length).toBeLessThanOrEqual(ingestLimits.requestBytes);
      const events = sent.map((line) => line.event);
      const lastAcceptedSeq = await answer(seqs, events, completion?.complete.finalSeq);
      stored.push(...events);
      if (completion !== undefined) completions.push(completion.complete.finalSeq);
      return { accepted: sent.length, duplicate: 0, lastAcceptedSeq };
    },
    refreshToken: how.refreshToken ?? (() => Promise.reject(new Error('no token is to be asked for'))),
    onFenced: (reason) => fenced.push(reason),
    log: { warn: (fields, message) => warned.push({ ...fields, message }) },
    ...(left === undefined
      ? {}
      : {
          journal: {
            left: { mark: { accepted: left.accepted, shift: 0 }, waiting: left.waiting },
            append: () => true,
            next: () => [],
            accepted: () => undefined,
          },
        }),
  });
  return { subject, stored, requests, completions, fenced, warned };
}

const event = (text: string): ProducedEvent => ({ type: 'agent_message', payload: { itemId: 'i', text } });
const conflict = (details: { lastAcceptedSeq: number; reason?: IngestConflict }) =>
  new ApiError({ status: 409, failureKind: 'conflict', message: 'conflict', details });
const refusal = (status: number, failureKind: string, details?: Record<string, unknown>) =>
  new ApiError({ status, failureKind, message: 'no', details });
const last = (seqs: number[]): number => seqs.at(-1) ?? 0;

describe('EventUploader', () => {
  test('one request in flight; what came meanwhile goes in the next', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { subject, requests } = uploader(async (seqs) => {
      if (seqs[0] === 1) await held;
      return last(seqs);
    });
    subject.add(event('a'));
    await expect.poll(() => requests.length).toBe(1);
    for (const text of ['b', 'c', 'd']) subject.add(event(text));
    release();
    expect(await subject.flush(5_000)).toBe(true);
    expect(requests).toEqual([[1], [2, 3, 4]]);
  });

  test('repeats after a network failure with the same sequence', async () => {
    let failures = 2;
    const { subject, requests, stored } = uploader((seqs) => {
      if (failures-- > 0) throw new ConnectionError('network', 'refused');
      return last(seqs);
    });
    subject.add(event('a'));
    expect(await subject.flush(5_000)).toBe(true);
    expect(requests).toEqual([[1], [1], [1]]);
    expect(stored).toHaveLength(1);
  });

  test('a gap realigns: what the server has is not sent again, what it lacks is renumbered', async () => {
    let first = true;
    const { subject, requests, fenced } = uploader((seqs) => {
      if (first) {
        first = false;
        throw conflict({ lastAcceptedSeq: 2 });
      }
      return last(seqs);
    });
    for (const text of ['a', 'b', 'c']) subject.add(event(text));
    expect(await subject.flush(5_000)).toBe(true);
    expect(requests).toEqual([[1, 2, 3], [3]]);
    expect(fenced).toEqual([]);
  });

  test('a lower sequence of the server renumbers the rest', async () => {
    let back = false;
    const { subject, requests } = uploader((seqs) => {
      if (seqs[0] === 2 && !back) {
        back = true;
        throw conflict({ lastAcceptedSeq: 0 });
      }
      return last(seqs);
    });
    subject.add(event('a'));
    await subject.flush(5_000);
    subject.add(event('b'));
    expect(await subject.flush(5_000)).toBe(true);
    expect(requests).toEqual([[1], [2], [1]]);
  });

  test('an oversized event becomes a marker before it has a sequence', async () => {
    const { subject, stored, requests } = uploader((seqs) => last(seqs));
    subject.add(event('x'.repeat(950_000)));
    subject.add(event('small'));
    expect(await subject.flush(5_000)).toBe(true);
    expect(requests.flat()).toEqual([1, 2]);
    expect(stored[0]).toMatchObject({ type: 'event_truncated', payload: { originalType: 'agent_message' } });
    expect(stored[1]?.payload.text).toBe('small');
  });

  test('more than a request holds goes in several, in order', async () => {
    const { subject, requests } = uploader((seqs) => last(seqs));
    for (let index = 0; index < 2_000; index += 1) subject.add(event(String(index)));
    for (let index = 0; index < 6; index += 1) subject.add(event('y'.repeat(800_000)));
    expect(await subject.flush(10_000)).toBe(true);
    expect(requests.length).toBeGreaterThan(3);
    expect(requests.flat()).toEqual(Array.from({ length: 2_006 }, (_, index) => index + 1));
  });

  test('an event that the server refuses is replaced by a marker and the rest goes on', async () => {
    const { subject, stored } = uploader((seqs, events) => {
      if (events.some((one) => one.payload.text === 'bad')) {
        throw new ApiError({ status: 400, failureKind: 'schema-invalid', message: 'no' });
      }
      return last(seqs);
    });
    for (const text of ['a', 'bad', 'c']) subject.add(event(text));
    expect(await subject.flush(5_000)).toBe(true);
    expect(stored.map((one) => one.type)).toEqual(['agent_message', 'events_lost', 'agent_message']);
  });

  test('an API that is too slow for a batch gets smaller ones, and then larger ones again', async () => {
    const sizes: number[] = [];
    const { subject, fenced } = uploader((seqs) => {
      sizes.push(seqs.length);
      if (seqs.length > 20)
        throw sizes.length % 2 === 0
          ? new ConnectionError('timeout', 'too late')
          : new ApiError({ status: 503, failureKind: 'unavailable', message: 'too late' });
      return last(seqs);
    });
    for (let index = 0; index < 100; index += 1) subject.add(event(String(index)));
    expect(await subject.flush(30_000)).toBe(true);
    expect(sizes.slice(0, 6)).toEqual([100, 100, 50, 25, 12, 24]);
    expect(fenced).toEqual([]);
  });

  test("a refusal that is none of the API's loses no event and fences nobody", async () => {
    const statuses = [400, 409, 409, 409];
    const { subject, stored, fenced } = uploader((seqs) => {
      const status = statuses.shift();
      if (status !== undefined)
        throw new ApiError({ status, failureKind: `http-${status}`, message: 'gateway' });
      return last(seqs);
    });
    subject.add(event('a'));
    expect(await subject.flush(30_000)).toBe(true);
    expect(stored.map((one) => one.type)).toEqual(['agent_message']);
    expect(fenced).toEqual([]);
  });

  test('fenced stops, and a conflict that nothing resolves stops too', async () => {
    const one = uploader(() => {
      throw new ApiError({ status: 409, failureKind: 'fenced', message: 'not current' });
    });
    one.subject.add(event('a'));
    expect(await one.subject.flush(5_000)).toBe(false);
    expect(one.fenced).toEqual(['ingest: fenced']);
    const two = uploader(() => {
      throw conflict({ lastAcceptedSeq: 0 });
    });
    two.subject.add(event('a'));
    expect(await two.subject.flush(10_000)).toBe(false);
    expect(two.fenced).toHaveLength(1);
  });

  test.each(['completed', 'ended'] as const)('409 %s ends it for good at once', async (reason) => {
    const { subject, requests, fenced } = uploader(() => {
      throw conflict({ lastAcceptedSeq: 7, reason });
    });
    subject.add(event('a'));
    expect(await subject.flush(5_000)).toBe(false);
    expect([requests.length, fenced.length]).toEqual([1, 1]);
  });

  test('every failure that is tried again is a line with attempt, class, wait and what waits', async () => {
    const failures = [
      new ConnectionError('network', 'refused'),
      new ConnectionError('timeout', 'too late'),
      refusal(408, 'request-timeout'),
      refusal(429, 'rate-limited'),
      refusal(500, 'infra-failed'),
      refusal(503, 'unavailable'),
    ];
    const { subject, warned, requests } = uploader((seqs) => {
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      return last(seqs);
    });
    for (const text of ['a', 'b']) subject.add(event(text));
    while (!(await subject.flush(200))) expect(requests.length).toBeLessThan(50);
    expect(warned.map((line) => [line.attempt, line.class, line.waiting])).toEqual([
      [1, 'network', 2],
      [2, 'timeout', 2],
      [3, 'timeout', 2],
      [4, 'overloaded', 2],
      [5, 'server', 2],
      [6, 'overloaded', 2],
    ]);
    for (const line of warned)
      expect(line).toMatchObject({
        delayMs: expect.any(Number) as unknown,
        type: expect.stringMatching(/Error$/) as unknown,
        message: 'events were not taken',
      });
  });

  test.each([
    [401, 'unauthorized'],
    [403, 'forbidden'],
  ])(
    '%i: a fresh token is asked for once; that fresh ones are refused for half a minute is the end',
    async (status, failureKind) => {
      vi.useFakeTimers();
      try {
        let refused = 1;
        let tokens = 0;
        const refreshToken = () => {
          tokens += 1;
          return Promise.resolve();
        };
        const answer: Answer = (seqs) => {
          if (refused-- > 0) throw refusal(status, failureKind);
          return last(seqs);
        };
        const { subject, requests, fenced, warned } = uploader(answer, { refreshToken });
        subject.add(event('a'));
        await vi.advanceTimersByTimeAsync(1_000);
        expect([requests, tokens, fenced]).toEqual([[[1], [1]], 1, []]);
        // As while a key is replaced, and again a while later.
        for (let time = 0; time < 2; time += 1) {
          refused = Number.POSITIVE_INFINITY;
          subject.add(event('b'));
          await vi.advanceTimersByTimeAsync(lastingRefusal.ms - 5_000);
          refused = 0;
          await vi.advanceTimersByTimeAsync(15_000);
          expect([subject.size, fenced]).toEqual([0, []]);
        }
        const loud = 'a fresh token is refused: if that lasts, the attempt ends';
        expect(warned.filter(({ message }) => message === loud).length).toBeGreaterThan(3);
        refused = Number.POSITIVE_INFINITY;
        subject.add(event('c'));
        await vi.advanceTimersByTimeAsync(lastingRefusal.ms + 25_000);
        expect([subject.size, fenced]).toEqual([1, [`ingest: ${failureKind}`]]);
        subject.stop();
      } finally {
        vi.useRealTimers();
      }
    },
  );

  test('a token that cannot be had now is asked for again later', async () => {
    const failures = [new ConnectionError('network', 'away'), refusal(503, 'unavailable')];
    let tokens = 0;
    const { subject, fenced } = uploader(
      (seqs) => {
        if (tokens < 3) throw refusal(401, 'unauthorized');
        return last(seqs);
      },
      {
        refreshToken: () => {
          tokens += 1;
          const failure = failures.shift();
          return failure === undefined ? Promise.resolve() : Promise.reject(failure);
        },
      },
    );
    subject.add(event('a'));
    expect(await subject.flush(10_000)).toBe(true);
    expect([tokens, fenced]).toEqual([3, []]);
  });

  test('what the API took before the line that it refuses is not sent again', async () => {
    const { subject, requests, stored } = uploader((seqs, events) => {
      const bad = events.findIndex((one) => one.payload.text === 'bad');
      if (bad >= 0) throw refusal(400, 'schema-invalid', { lastAcceptedSeq: (seqs[0] ?? 0) + bad - 1 });
      return last(seqs);
    });
    for (const text of ['a', 'b', 'bad', 'c', 'd']) subject.add(event(text));
    expect(await subject.flush(5_000)).toBe(true);
    expect(requests).toEqual([[1, 2, 3, 4, 5], [3], [3], [4, 5]]);
    expect(stored[0]).toMatchObject({ type: 'events_lost', payload: { count: 1 } });
  });

  test('413 of one event: the marker says type, size and hash; the others go on', async () => {
    const { subject, stored } = uploader((seqs, events) => {
      if (JSON.stringify(events).length > 1_000) throw refusal(413, 'http-413');
      return last(seqs);
    });
    for (const text of ['a', 'x'.repeat(2_000), 'c']) subject.add(event(text));
    expect(await subject.flush(5_000)).toBe(true);
    expect(stored.map((one) => one.type)).toEqual(['agent_message', 'event_truncated', 'agent_message']);
    expect(stored[1]?.payload).toMatchObject({
      originalType: 'agent_message',
      bytes: expect.any(Number) as unknown,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as unknown,
    });
  });

  test('an API that refuses everything is not asked for ever', async () => {
    const { subject, requests, fenced } = uploader(() => {
      throw refusal(400, 'schema-invalid');
    });
    for (let index = 0; index < 100; index += 1) subject.add(event(String(index)));
    expect(await subject.flush(5_000)).toBe(false);
    expect(requests.length).toBeLessThan(12);
    expect(fenced).toHaveLength(1);
  });

  describe('its end', () => {
    test('the completion line goes with the last events, or alone, and nothing follows it', async () => {
      const first = uploader((seqs) => last(seqs));
      for (const text of ['a', 'b']) first.subject.add(event(text));
      expect(await first.subject.complete(5_000)).toBe(true);
      expect([first.requests, first.completions]).toEqual([[[1, 2]], [2]]);
      first.subject.add(event('late'));
      expect(await first.subject.complete(5_000)).toBe(true);
      expect(first.requests).toHaveLength(1);
      expect(first.warned.map((line) => line.message)).toEqual(['an event comes after the last one']);
      const second = uploader((_seqs, _events, finalSeq) => finalSeq ?? 1);
      second.subject.add(event('a'));
      await second.subject.flush(5_000);
      expect(await second.subject.complete(5_000)).toBe(true);
      expect([second.requests, second.completions]).toEqual([[[1], []], [1]]);
      const silent = uploader(() => 0);
      expect(await silent.subject.complete(5_000)).toBe(true);
      expect(silent.completions).toEqual([0]);
    });

    test('is repeated when its answer was lost, and realigned when the API counts otherwise', async () => {
      const answers = [
        new ConnectionError('network', 'cut'),
        conflict({ lastAcceptedSeq: 5, reason: 'completion-mismatch' }),
      ];
      const { subject, completions, fenced } = uploader((_seqs, _events, finalSeq) => {
        const failure = answers.shift();
        if (failure !== undefined) throw failure;
        return finalSeq ?? 0;
      });
      while (!(await subject.complete(100))) expect(fenced).toEqual([]);
      expect(completions).toEqual([5]);
    });

    test('a refused last event does not take the completion with it, nor a refused completion the events', async () => {
      const bad = uploader((seqs, events) => {
        if (events.some((one) => one.payload.text === 'bad')) throw refusal(400, 'schema-invalid');
        return seqs.length === 0 ? 1 : last(seqs);
      });
      bad.subject.add(event('bad'));
      expect(await bad.subject.complete(5_000)).toBe(true);
      expect(bad.stored.map((one) => one.type)).toEqual(['events_lost']);
      expect(bad.completions).toEqual([1]);
      const older = uploader((seqs, _events, finalSeq) => {
        if (finalSeq !== undefined) throw refusal(400, 'schema-invalid');
        return last(seqs);
      });
      older.subject.add(event('a'));
      expect(await older.subject.complete(5_000)).toBe(true);
      expect([older.stored.length, older.completions.length, older.fenced]).toEqual([1, 0, []]);
    });

    test('does not wait for the end of a back-off', async () => {
      let away = true;
      const { subject, completions } = uploader((seqs) => {
        if (away)
          throw new ApiError({
            status: 503,
            failureKind: 'unavailable',
            message: 'no',
            retryAfterSeconds: 30,
          });
        return last(seqs);
      });
      subject.add(event('a'));
      expect(await subject.flush(100)).toBe(false);
      away = false;
      const startedAt = performance.now();
      expect(await subject.complete(5_000)).toBe(true);
      expect(performance.now() - startedAt).toBeLessThan(150);
      expect(completions).toEqual([1]);
    });
  });

  test('a sender that follows another one asks first, and goes on behind what the API has', async () => {
    const { subject, requests, completions } = uploader(
      (seqs, _events, finalSeq) => finalSeq ?? (seqs.length === 0 ? 137 : last(seqs)),
      {
        left: { accepted: 0, waiting: 0 },
      },
    );
    subject.add(event('a'));
    expect(await subject.complete(5_000)).toBe(true);
    expect([requests, completions]).toEqual([[[], [138]], [138]]);
  });

  test('every limit of the sender lies within that of the other side', () => {
    expect(maxEventBytes).toBeLessThan(ingestLimits.lineBytes);
    expect(batchLimits.bytes).toBeLessThan(ingestLimits.requestBytes);
    expect(batchLimits.events).toBeLessThan(ingestLimits.eventsPerRequest);
    expect(maxEventBytes).toBeLessThan(batchLimits.bytes);
    expect(requestTimeoutMs).toBeLessThan(ingestLimits.bodyMs);
    expect(batchLimits.bytes).toBeLessThan(memoryLimits.bytes);
    expect(memoryLimits.bytes).toBeLessThan(spillLimits.bytes);
    expect(maxEventBytes).toBeLessThan(spillLimits.segmentBytes);
    const { ladder, flushMs, reportMs, allMs } = stopLimits;
    const ladderMs = ladder.interruptMs + ladder.cleanUpMs + ladder.killMs;
    expect(ladderMs + flushMs).toBeLessThan(reportMs);
    expect(reportMs).toBeLessThan(allMs);
    expect(allMs).toBeLessThan(stopGraceMs);
  });
});
