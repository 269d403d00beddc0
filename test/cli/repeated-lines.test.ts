import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { RepeatedLines } from '../../cli/stack/repeated-lines.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('writes the first of the same lines at once and the others of 10 s as one', () => {
  const written: string[] = [];
  const lines = new RepeatedLines((line) => written.push(line));
  for (let attempt = 1; attempt <= 13; attempt += 1) lines.add(`WARN lost (attempt ${attempt}): refused`);
  lines.add('WARN other');
  expect(written).toEqual(['WARN lost (attempt 1): refused', 'WARN other']);

  vi.advanceTimersByTime(10_000);
  expect(written.slice(2)).toEqual(['WARN lost (attempt 13): refused … (12 times)']);

  lines.add('WARN lost (attempt 14): refused');
  expect(written).toHaveLength(3);
  vi.advanceTimersByTime(10_000);
  expect(written.slice(3)).toEqual(['WARN lost (attempt 14): refused']);

  vi.advanceTimersByTime(10_000);
  lines.add('WARN lost (attempt 1): refused');
  expect(written).toHaveLength(5);
});

it('writes nothing after it was cleared', () => {
  const written: string[] = [];
  const lines = new RepeatedLines((line) => written.push(line));
  lines.add('a');
  lines.add('a');
  lines.clear();
  vi.advanceTimersByTime(60_000);
  expect(written).toEqual(['a']);
});
