import { describe, expect, it, test } from 'vitest';
import { ReconnectBudget } from '../../client/stream/reconnect-budget.js';

/** Jitter in the middle: the delays of the table. */
const middle = () => 0.5;
const noConnection = { connectedForMs: 0 };

/** What the budget says to failures one after another, until it is used up. */
function delays(budget: ReconnectBudget, most: number): (number | string)[] {
  const told: (number | string)[] = [];
  for (let number = 0; number < most; number += 1) {
    const next = budget.failed('transport', noConnection);
    if (next.kind === 'exhausted') return [...told, `exhausted after ${next.attempts}`];
    told.push(next.delayMs);
  }
  return told;
}

const table = [500, 500, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000];

describe('the budget of a stream (requirements.md A.1.b 41)', () => {
  it('is nine attempts in a row, quick at first', () => {
    expect(delays(new ReconnectBudget({}, middle), 20)).toEqual([...table, 'exhausted after 9']);
  });

  it('goes on every 30 s where it is unlimited', () => {
    expect(delays(new ReconnectBudget('unlimited', middle), 12)).toEqual([...table, 30_000, 30_000, 30_000]);
  });

  test.each([
    ['the least', 0, 0.8],
    ['the most', 1, 1.2],
  ])('varies by a fifth: %s', (_name, random, factor) => {
    const budget = new ReconnectBudget({}, () => random);
    expect(delays(budget, 9)).toEqual(table.map((delayMs) => delayMs * factor));
  });

  it('is thirty attempts in all, whatever keepalives say', () => {
    const budget = new ReconnectBudget({}, middle);
    for (let number = 1; number <= 30; number += 1) {
      expect(budget.failed('transport', noConnection)).toMatchObject({ kind: 'wait', attempt: 1 });
      budget.heardKeepalive();
    }
    expect(budget.failed('transport', noConnection)).toEqual({ kind: 'exhausted', attempts: 30 });
  });

  it('counts anew in all after a connection of a minute', () => {
    const budget = new ReconnectBudget({ attemptsInAll: 3 }, middle);
    const livedMs = (connectedForMs: number) => {
      budget.heardKeepalive();
      return budget.failed('transport', { connectedForMs }).kind;
    };
    expect([0, 59_999, 59_999, 60_000, 0, 0, 0].map(livedMs)).toEqual([
      'wait',
      'wait',
      'wait',
      'wait',
      'wait',
      'wait',
      'exhausted',
    ]);
  });
});

describe('what is heard (requirements.md A.1.b 42)', () => {
  const failures = ['transport', 'server'] as const;

  /** The attempt that the next failure of each kind has, after three of both. */
  function after(heard: (budget: ReconnectBudget) => void) {
    const budget = new ReconnectBudget({}, middle);
    for (let number = 0; number < 3; number += 1)
      for (const kind of failures) budget.failed(kind, noConnection);
    heard(budget);
    return failures
      .map((kind) => budget.failed(kind, noConnection))
      .map((next) => ('attempt' in next ? next.attempt : 0));
  }

  test.each<[string, (budget: ReconnectBudget) => void, number[]]>([
    ['nothing', () => undefined, [4, 4]],
    ['a connection', (budget) => budget.connected(), [4, 4]],
    ['a keepalive', (budget) => budget.heardKeepalive(), [1, 4]],
    ['an event', (budget) => budget.heardEvent(), [1, 1]],
  ])('%s', (_name, heard, attempts) => {
    expect(after(heard)).toEqual(attempts);
  });

  it('that is an event clears the attempts in all as well', () => {
    const budget = new ReconnectBudget({ attemptsInAll: 2 }, middle);
    for (let number = 0; number < 10; number += 1) {
      expect(budget.failed('transport', noConnection).kind).toBe('wait');
      budget.heardEvent();
    }
  });
});

describe('Retry-After', () => {
  test.each([
    ['is the lower bound', 5, 5_000, 6_000],
    ['that is shorter than the delay changes nothing', 0, 400, 600],
    ['is itself bounded', 86_400, 60_000, 72_000],
  ])('%s', (_name, retryAfterSeconds, least, most) => {
    for (const random of [0, 0.5, 1]) {
      const next = new ReconnectBudget({}, () => random).failed('transport', {
        connectedForMs: 0,
        retryAfterSeconds,
      });
      expect(next).toMatchObject({ delayMs: expect.any(Number) });
      const delayMs = 'delayMs' in next ? next.delayMs : 0;
      expect(delayMs).toBeGreaterThanOrEqual(least);
      expect(delayMs).toBeLessThanOrEqual(most);
    }
  });
});

describe('a rotation (requirements.md A.1.b 32)', () => {
  const latest = () => 1;

  it('costs no attempt and next to no time', () => {
    const budget = new ReconnectBudget({ attemptsInARow: 1, attemptsInAll: 1 }, latest);
    for (let number = 0; number < 50; number += 1) expect(budget.rotated(300_000)).toBe(100);
    expect(budget.failed('transport', noConnection).kind).toBe('wait');
  });

  it('of each connection as soon as it is open is spaced out', () => {
    const budget = new ReconnectBudget({}, latest);
    expect(Array.from({ length: 8 }, () => budget.rotated(10))).toEqual([
      200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000,
    ]);
    expect(budget.rotated(60_000)).toBe(100);
  });
});

describe('a token that is refused', () => {
  it('is read once more per connection that was let in, and costs no attempt', () => {
    const budget = new ReconnectBudget({ attemptsInARow: 1, attemptsInAll: 1 }, middle);
    expect([budget.unauthorized(), budget.unauthorized()]).toEqual([500, undefined]);
    budget.connected();
    expect(budget.unauthorized()).toBe(500);
    expect(budget.failed('transport', noConnection).kind).toBe('wait');
  });
});
