import { describe, expect, test } from 'vitest';
import { ApiError, ConnectionError } from '../../client/index.js';
import type { ProducedEvent } from '../../contract/events.js';
import { ingestLimits, ingestLineSchema } from '../../contract/ingest.js';
import { EventUploader } from '../../runner/supervisor/event-uploader.js';

type Answer = (seqs: number[], events: ProducedEvent[]) => Promise<number> | number;

/** An uploader against a server that is one function; it answers the last accepted sequence or throws. */
function uploader(answer: Answer) {
  const stored: ProducedEvent[] = [];
  const requests: number[][] = [];
  const fenced: string[] = [];
  const subject = new EventUploader({
    send: async (lines) => {
      const parsed = lines
        .trim()
        .split('\n')
        .map((line) => ingestLineSchema.parse(JSON.parse(line)));
      const seqs = parsed.map((line) => line.seq);
      requests.push(seqs);
      expect(parsed.length).toBeLessThanOrEqual(ingestLimits.eventsPerRequest);
      expect(lines.length).toBeLessThanOrEqual(ingestLimits.requestBytes);
      const events = parsed.map((line) => line.event);
      const lastAcceptedSeq = await answer(seqs, events);
      stored.push(...events);
      return { accepted: parsed.length, duplicate: 0, lastAcceptedSeq };
    },
    onFenced: (reason) => fenced.push(reason),
    log: { warn: () => undefined },
  });
  return { subject, stored, requests, fenced };
}

const event = (text: string): ProducedEvent => ({ type: 'agent_message', payload: { itemId: 'i', text } });
const conflict = (details: Record<string, unknown>) =>
  new ApiError({ status: 409, failureKind: 'conflict', message: 'gap', details });
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
});
