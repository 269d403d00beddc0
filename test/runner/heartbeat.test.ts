import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ApiError, ConnectionError } from '../../client/index.js';
import { Heartbeat, type Outage, selfFenceMs } from '../../runner/supervisor/heartbeat.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

function heartbeat(beat: () => Promise<number>, fenceAfterMs = 10_000) {
  const fenced: string[] = [];
  const outages: Outage[] = [];
  const states: unknown[] = [];
  let beats = 0;
  const subject = new Heartbeat({
    beat: () => {
      beats += 1;
      return beat();
    },
    intervalMs: 1_000,
    fenceAfterMs,
    onFenced: (reason) => fenced.push(reason),
    onRecovered: (outage) => outages.push(outage),
    log: { warn: (fields) => states.push(fields.state) },
  });
  subject.start();
  return { subject, fenced, outages, states, beats: () => beats };
}

describe('a runner whose heartbeats do not get through', () => {
  const failing = (failures: number) => {
    let left = failures;
    return heartbeat(() => {
      left -= 1;
      return left >= 0 ? Promise.reject(new ConnectionError('network', 'away')) : Promise.resolve(1_000);
    }, 60_000);
  };

  test('is degraded from the third failure on, and says how long it was once they do', async () => {
    const { outages, states } = failing(4);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(states).toEqual(['serving', 'serving', 'degraded', 'degraded', 'serving']);
    expect(outages).toEqual([{ failures: 4, durationMs: expect.any(Number) as unknown }]);
    expect(outages[0]?.durationMs).toBeGreaterThan(4_000);
    expect(outages[0]?.durationMs).toBeLessThan(6_000);
  });

  test('twice only says nothing afterwards', async () => {
    const { outages } = failing(2);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(outages).toEqual([]);
  });
});

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
