import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it, test } from 'vitest';
import { LiveText } from '../../cli/live-text.js';
import { wrapped } from '../../cli/text-width.js';
import type { EventType } from '../../contract/events.js';
import type { JsonObject } from '../../contract/json.js';

const event = (type: EventType, payload: JsonObject) => ({
  seq: 1,
  eventId: 'evt_1',
  runId: 'run_1',
  attempt: 1,
  epoch: 1,
  at: '2026-01-01T00:00:00.000Z',
  type,
  payload,
});
const linesOf = (live: LiveText, columns = 40) => live.lines(columns).map(stripVTControlCharacters);

describe('lines of a terminal', () => {
  test.each([
    ['', 4, ['']],
    ['abcdefgh', 4, ['abcd', 'efgh']],
    ['abcde', 4, ['abcd', 'e']],
    ['漢字漢字', 5, ['漢字', '漢字']],
    ['👩‍💻👩‍💻', 3, ['👩‍💻', '👩‍💻']],
    ['e\u0301e\u0301e\u0301', 2, ['e\u0301e\u0301', 'e\u0301']],
    ['a\tb', 10, ['a    b']],
    ['漢', 1, ['漢']],
    ['one two three', 8, ['one two', 'three']],
    ['one two', 3, ['one', 'two']],
    ['a longerword', 6, ['a', 'longer', 'word']],
    ['    longword', 8, ['    long', 'word']],
    ['漢字 漢字', 6, ['漢字', '漢字']],
  ])('%j in %d columns', (line, columns, pieces) => {
    expect(wrapped(line, columns)).toEqual(pieces);
  });
});

describe('text that is being written', () => {
  it('grows by its pieces, is set back by an offset, and goes when its event is there', () => {
    const live = new LiveText();
    expect(linesOf(live)).toEqual([]);
    live.add({ itemId: 'a', offset: 0, text: 'Hello' });
    live.add({ itemId: 'a', offset: 5, text: ', world\nand' });
    expect(linesOf(live)).toEqual(['…      Hello, world', '  and']);
    live.add({ itemId: 'a', offset: 5, text: '.' });
    expect(linesOf(live)).toEqual(['…      Hello.']);
    live.ends(event('agent_message', { itemId: 'other', text: 'x' }));
    expect(linesOf(live)).toEqual(['…      Hello.']);
    live.ends(event('agent_message', { itemId: 'a', text: 'Hello.' }));
    expect(linesOf(live)).toEqual([]);
  });

  it('shows what it has when a piece is missing, and only the item that is written now', () => {
    const live = new LiveText();
    live.add({ itemId: 'a', offset: 100, text: 'from the middle' });
    live.add({ itemId: 'a', offset: 115, text: ' on' });
    expect(linesOf(live)).toEqual(['…      from the middle on']);
    live.add({ itemId: 'a', offset: 500, text: 'later' });
    expect(linesOf(live)).toEqual(['…      later']);
    live.add({ itemId: 'b', offset: 0, text: 'other' });
    expect(linesOf(live)).toEqual(['…      other']);
    live.ends(event('terminal_status', {}));
    expect(linesOf(live)).toEqual([]);
  });

  it('is the last lines of it, as wide as the terminal, however long it gets', () => {
    const live = new LiveText();
    let offset = 0;
    for (let line = 1; line <= 2_000; line += 1) {
      const text = `line ${line}\n`;
      live.add({ itemId: 'a', offset, text });
      offset += text.length;
    }
    expect(linesOf(live)).toEqual(
      Array.from({ length: 8 }, (_, index) => `${index === 0 ? '…' : ' '} line ${1_993 + index}`),
    );
    live.add({ itemId: 'b', offset: 0, text: '漢'.repeat(12) });
    expect(linesOf(live, 22)).toEqual([`…      ${'漢'.repeat(7)}`, `  ${'漢'.repeat(5)}`]);
  });

  it('is escaped', () => {
    const live = new LiveText();
    live.add({ itemId: 'a', offset: 0, text: '\u001b[2Jx\u202e\ry' });
    expect(linesOf(live)).toEqual(['…      \\u001b[2Jx\\u202e\\u000dy']);
  });
});
