import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseQuantity } from '../../../domain/kubernetes/quantity.js';

describe('parseQuantity', () => {
  it.each([
    ['0', 0],
    ['500m', 500],
    ['2', 2_000],
    ['0.5', 500],
    ['1e3', 1_000_000],
    ['1k', 1_000_000],
    ['1Ki', 1_024_000],
    ['1.5Gi', 1_610_612_736_000],
    ['8G', 8e12],
    ['1Ti', 1_099_511_627_776_000],
  ])('%s is %d milliunits', (text, milliunits) => {
    expect(parseQuantity(text)).toBe(milliunits);
  });

  it.each([
    '',
    ' ',
    '1 Gi',
    '-1',
    '+1',
    '.5',
    '1.',
    '1gi',
    '1K',
    'Gi',
    '1E',
    '1n',
    '1u',
    'NaN',
    'Infinity',
    '0x10',
    '1e999',
    '1Gi ',
  ])('%j is none', (text) => {
    expect(parseQuantity(text)).toBeUndefined();
  });

  it('keeps the order of sizes across suffixes', () => {
    const whole = fc.integer({ min: 1, max: 10_000 });
    fc.assert(
      fc.property(whole, (size) => {
        const order = ['m', '', 'k', 'Ki', 'M', 'Mi', 'G', 'Gi', 'T', 'Ti'].map(
          (suffix) => parseQuantity(`${size}${suffix}`) ?? Number.NaN,
        );
        expect(order).toEqual([...order].sort((left, right) => left - right));
        expect(new Set(order).size).toBe(order.length);
      }),
    );
  });
});
