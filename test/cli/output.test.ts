import { writeSync } from 'node:fs';
import { beforeEach, expect, it, vi } from 'vitest';
import { createOutput, ReaderGone } from '../../cli/output.js';

vi.mock('node:fs', () => ({ writeSync: vi.fn((_descriptor: number, bytes: Buffer) => bytes.length) }));
const written = () =>
  vi.mocked(writeSync).mock.calls.map(([descriptor, bytes]) => [descriptor, String(bytes)]);
const pipe = { isTTY: false, columns: 0 };
const terminal = { isTTY: true, columns: 80 };
beforeEach(() => {
  vi.mocked(writeSync).mockClear();
});

it('writes no control character of others to the terminal, and the same JSON without them', () => {
  const evil = 'a\u001b[2J\u009b1A\u202e\tb';
  const shown = 'a\\u001b[2J\\u009b1A\\u202e\tb';
  const output = createOutput(false, pipe);
  output.line(evil, `\u001b[31m${evil}\u001b[39m`);
  output.remark(evil);
  createOutput(true).data({ evil });
  expect(written()).toEqual([
    [1, `${shown}\n\u001b[31m${shown}\u001b[39m\n`],
    [2, `${shown}\n`],
    [1, '{"evil":"a\\u001b[2J\\u009b1A\\u202e\\tb"}\n'],
  ]);
});

it('rewrites the last lines of a terminal in place, below everything that stays', () => {
  const output = createOutput(false, terminal);
  output.live(['one', 'two\u001b[2J']);
  output.line('stays');
  output.remark('remark');
  output.live([]);
  output.live([]);
  const esc = '\u001b[';
  const drawn = `${esc}?7lone\ntwo\\u001b[2J\n${esc}?7h`;
  const erased = `\r${esc}2A${esc}0J`;
  expect(written()).toEqual([
    [1, drawn],
    [1, `${erased}stays\n${drawn}`],
    [1, erased],
    [2, 'remark\n'],
    [1, drawn],
    [1, erased],
  ]);
});

it.each([
  ['a pipe', createOutput(false, pipe)],
  ['a narrow terminal', createOutput(false, { isTTY: true, columns: 10 })],
  ['--json', createOutput(true, terminal)],
])('rewrites nothing on %s', (_name, output) => {
  expect(output.columns()).toBeNull();
  output.live(['one']);
  expect(written()).toEqual([]);
});

it('says that the reader has gone, and waits for one that is slow', () => {
  const failWith = (code: string) => () => {
    throw Object.assign(new Error(code), { code });
  };
  vi.mocked(writeSync).mockImplementationOnce(failWith('EAGAIN'));
  createOutput(false, pipe).line('late');
  expect(written()).toEqual([
    [1, 'late\n'],
    [1, 'late\n'],
  ]);
  vi.mocked(writeSync).mockImplementationOnce(failWith('EPIPE'));
  expect(() => createOutput(true, pipe).data({})).toThrow(ReaderGone);
});
