import { describe, expect, it } from 'vitest';
import { clockOffsetMs, clockRemark } from '../../domain/clock-offset.js';

describe('clockOffsetMs', () => {
  it.each([
    { theirsMs: 10_000, resolutionMs: 1, expected: 0, why: 'it lies between our readings' },
    { theirsMs: 10_200, resolutionMs: 1, expected: 100, why: 'only what is surely ahead counts' },
    { theirsMs: 9_000, resolutionMs: 1, expected: -999, why: 'and what is surely behind' },
    { theirsMs: 9_000, resolutionMs: 1_000, expected: 0, why: 'a date without milliseconds may be right' },
    { theirsMs: 2_000, resolutionMs: 1_000, expected: -7_000, why: 'or is wrong by more than that' },
  ])('$theirsMs ± $resolutionMs is $expected: $why', ({ theirsMs, resolutionMs, expected }) => {
    expect(clockOffsetMs({ beforeMs: 10_000, afterMs: 10_100, theirsMs, resolutionMs })).toBe(expected);
  });
});

describe('clockRemark', () => {
  it.each([
    [5_000, undefined],
    [-5_000, undefined],
    [6_000, '6 s ahead of this one'],
    [-90_000, '90 s behind this one'],
  ])('%i ms: %s', (offsetMs, expected) => {
    expect(clockRemark(offsetMs)).toBe(expected);
  });
});
