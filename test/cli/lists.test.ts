import { describe, expect, it } from 'vitest';
import { tableLines } from '../../cli/commands/lists.js';

describe('a table for people', () => {
  const columns = [
    ['NAME', (item: { name: string; state: string }) => item.name],
    ['STATE', (item: { name: string; state: string }) => item.state],
  ] as const;

  it('has columns as wide as their widest cell, and only titles without items', () => {
    expect(
      tableLines(
        [
          { name: 'a', state: 'idle' },
          { name: 'a-longer-one', state: 'running' },
        ],
        columns,
      ),
    ).toEqual(['NAME          STATE', 'a             idle', 'a-longer-one  running']);
    expect(tableLines([], columns)).toEqual(['NAME  STATE']);
  });

  it('keeps a row on its line, whatever is in it', () => {
    expect(tableLines([{ name: 'a\nb\u001b[2J', state: 'idle' }], columns)).toHaveLength(2);
    expect(tableLines([{ name: 'a\nb\u001b[2J', state: 'idle' }], columns)[1]).toBe('a\\nb\\u001b[2J  idle');
  });
});
