import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ApiError, ConnectionError } from '../../client/index.js';
import { Heartbeat, selfFenceMs } from '../../runner/supervisor/heartbeat.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function heartbeat(beat: () => Promise<number>, fenceAfterMs = 10_000) {
  const fenced: string[] = [];
  let beats = 0;
  const subject = new Heartbeat({
    beat: () => {
      beats += 1;
      return beat();
    },
    intervalMs: 1_000,
    fenceAfterMs,
    onFenced: (reason) => fenced.push(reason),
    log: { warn: () => undefined },
  });
  subject.start();
  return { subject, fenced, beats: () => beats };
}

describe('a supervisor fences itself', () => {
  test('when no heartbeat succeeded for the bound', async () => {
    const { fenced } = heartbeat(() => Promise.reject(new ConnectionError('network', 'away')));
    await vi.advanceTimersByTimeAsync(9_990);
    expect(fenced).toEqual([]);
    await vi.advanceTimersByTimeAsync(20);
    expect(fenced).toEqual(['no heartbeat succeeded for too long']);
  });

  test('also while a request hangs', async () => {
    const { fenced, beats } = heartbeat(() => new Promise(() => undefined));
    await vi.advanceTimersByTimeAsync(10_010);
    expect([fenced.length, beats()]).toEqual([1, 1]);
  });

  test('counted from when the last good one was sent, not from its answer', async () => {
    let answered = 0;
    const { fenced } = heartbeat(() => {
      answered += 1;
      if (answered > 1) return new Promise(() => undefined);
      return new Promise((resolve) => setTimeout(() => resolve(1_000), 5_000));
    });
    // Sent at 900 to 1,100 ms.
    await vi.advanceTimersByTimeAsync(10_850);
    expect(fenced).toEqual([]);
    await vi.advanceTimersByTimeAsync(300);
    expect(fenced).toHaveLength(1);
  });

  test('not while they succeed, and not after the stop', async () => {
    const { subject, fenced, beats } = heartbeat(() => Promise.resolve(1_000));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fenced).toEqual([]);
    expect(beats()).toBeGreaterThan(50);
    subject.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(fenced).toEqual([]);
  });

  test.each([
    ['fenced', 409, true],
    ['not-found', 404, true],
    ['forbidden', 403, true],
    // Not the API's own word: whatever stands before it while it is away.
    ['http-404', 404, false],
    ['http-403', 403, false],
    ['unauthorized', 401, false],
    ['unavailable', 503, false],
  ])('%s with status %i: %s', async (failureKind, status, fences) => {
    const { fenced } = heartbeat(() => Promise.reject(new ApiError({ status, failureKind, message: 'no' })));
    await vi.advanceTimersByTimeAsync(5_000);
    expect(fenced).toEqual(fences ? [`heartbeat: ${failureKind}`] : []);
  });
});

test.each([
  // lease + grace - min(60 s, grace / 4)
  [60_000, 900_000, 900_000],
  [3_000, 8_000, 9_000],
  [1_000, 1_000, 1_750],
])('lease %i ms and grace %i ms: fenced after %i ms', (leaseMs, graceMs, expected) => {
  expect(selfFenceMs(leaseMs, graceMs)).toBe(expected);
  // An outage of five minutes restarts no agent with the default limits.
  if (leaseMs === 60_000) expect(expected).toBeGreaterThan(300_000 + leaseMs);
  expect(expected).toBeLessThan(leaseMs + graceMs);
});
