import { describe, expect, it } from 'vitest';
import { planRestart } from '../../cli/stack/restart-backoff.js';

describe('planRestart', () => {
  it.each([
    { name: 'the first death', previousAttempt: 0, ranMs: 5, attempt: 1, delayMs: 1_000 },
    { name: 'the second one doubles', previousAttempt: 1, ranMs: 5, attempt: 2, delayMs: 2_000 },
    { name: 'and so on', previousAttempt: 4, ranMs: 5, attempt: 5, delayMs: 16_000 },
    { name: 'up to half a minute', previousAttempt: 5, ranMs: 5, attempt: 6, delayMs: 30_000 },
    { name: 'for ever', previousAttempt: 5_000, ranMs: 5, attempt: 5_001, delayMs: 30_000 },
    { name: 'not yet healthy', previousAttempt: 3, ranMs: 59_999, attempt: 4, delayMs: 8_000 },
    {
      name: 'healthy for a minute starts anew',
      previousAttempt: 3,
      ranMs: 60_000,
      attempt: 1,
      delayMs: 1_000,
    },
  ])('$name', ({ previousAttempt, ranMs, attempt, delayMs }) => {
    expect(planRestart({ previousAttempt, ranMs })).toEqual({ attempt, delayMs });
  });
});
