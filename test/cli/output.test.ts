import { writeSync } from 'node:fs';
import { beforeEach, expect, it, vi } from 'vitest';
import { createOutput } from '../../cli/output.js';

vi.mock('node:fs', () => ({ writeSync: vi.fn((_descriptor: number, bytes: Buffer) => bytes.length) }));
const written = () =>
  vi.mocked(writeSync).mock.calls.map(([descriptor, bytes]) => [descriptor, String(bytes)]);
beforeEach(() => {
  vi.mocked(writeSync).mockClear();
});

it('writes no control character of others to the terminal, and the same JSON without them', () => {
  const evil = 'a\u001b[2J\u009b1A\u202e\tb';
  const shown = 'a\\u001b[2J\\u009b1A\\u202e\tb';
  const output = createOutput(false);
  output.line(evil, `\u001b[31m${evil}\u001b[39m`);
  output.remark(evil);
  createOutput(true).data({ evil });
  expect(written()).toEqual([
    [1, `${shown}\n\u001b[31m${shown}\u001b[39m\n`],
    [2, `${shown}\n`],
    [1, '{"evil":"a\\u001b[2J\\u009b1A\\u202e\\tb"}\n'],
  ]);
});
