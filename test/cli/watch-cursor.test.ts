import { expect, test } from 'vitest';
import { cursorText, isAfter, parsePlace } from '../../cli/watch-cursor.js';

const runId = `run_${'0'.repeat(26)}`;

test.each([
  ['2.12', { turn: 2, seq: 12 }],
  ['0.0', { turn: 0, seq: 0 }],
  [`${runId}:12`, { runId, seq: 12 }],
  [`${runId}:`, undefined],
  [runId, undefined],
  ['12', undefined],
  ['2.', undefined],
  ['-1.2', undefined],
  [`${runId}:-1`, undefined],
  ['x:1', undefined],
  ['', undefined],
])('--after %s', (text, place) => {
  expect(parsePlace(text)).toEqual(place);
});

test('the order of a session: turn, then seq', () => {
  const order = ['1.9', '1.10', '2.0', '10.1'];
  const places = order.map(parsePlace).filter((place) => place !== undefined && 'turn' in place);
  expect(places.toSorted((one, other) => (isAfter(one, other) ? 1 : -1)).map(cursorText)).toEqual(order);
});
