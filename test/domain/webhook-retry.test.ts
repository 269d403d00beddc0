import { expect, it } from 'vitest';
import { webhookRetryDelayMs, webhookTries } from '../../domain/webhook-retry.js';

const delays = (random: number) =>
  Array.from({ length: webhookTries - 1 }, (_, index) =>
    webhookRetryDelayMs({ tries: index + 1, retryAfterMs: null, random }),
  );

it('grows from 5 s by 3 up to 6 h, about ten hours in all', () => {
  expect(delays(0.5).map((ms) => ms / 1_000)).toEqual([5, 15, 45, 135, 405, 1_215, 3_645, 10_935, 21_600]);
});

it('is a fifth more or less at random', () => {
  expect(delays(0)[0]).toBe(4_000);
  expect(delays(1)[0]).toBe(6_000);
});

it('is as long as the receiver asks, at most 6 h', () => {
  const asked = (retryAfterMs: number) => webhookRetryDelayMs({ tries: 1, retryAfterMs, random: 0.5 });
  expect(asked(60_000)).toBe(60_000);
  expect(asked(1_000)).toBe(5_000);
  expect(asked(86_400_000)).toBe(21_600_000);
});
