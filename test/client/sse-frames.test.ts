import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { type SseFrame, SseReader } from '../../client/stream/sse-frames.js';

/** The frames of these pieces, one after another. */
function framesOf(...pieces: Uint8Array[]): SseFrame[] {
  const reader = new SseReader();
  return [...pieces.flatMap((piece) => reader.push(piece)), ...reader.end()];
}

const bytes = (text: string) => new TextEncoder().encode(text);
const frame = (data: string, id?: string, name?: string): SseFrame => ({ name, id, data });

/** requirements.md A.1.b 44 */
const cases: [string, string, SseFrame[]][] = [
  ['an event', 'id: 1\ndata: a\n\n', [frame('a', '1')]],
  ['a named frame', 'event: gap\ndata: {}\n\n', [frame('{}', undefined, 'gap')]],
  ['CRLF', 'id: 1\r\ndata: a\r\n\r\nid: 2\r\ndata: b\r\n\r\n', [frame('a', '1'), frame('b', '2')]],
  ['CR', 'id: 1\rdata: a\r\rid: 2\rdata: b\r\r', [frame('a', '1'), frame('b', '2')]],
  ['ends of lines of all kinds', 'id: 1\rdata: a\r\n\ndata: b\n\r\n', [frame('a', '1'), frame('b')]],
  ['comments', ': hello\n\n:\ndata: a\n:again\n\n', [frame('a')]],
  ['several data lines', 'data: a\ndata:\ndata: b\n\n', [frame('a\n\nb')]],
  ['no space after the colon', 'id:1\nevent:x\ndata:a\n\n', [frame('a', '1', 'x')]],
  ['only the first space is left out', 'data:  a \n\n', [frame(' a ')]],
  ['a field without a colon', 'data\n\n', [frame('')]],
  ['unknown fields', 'colour: red\ndata: a\nidx: 3\n\n', [frame('a')]],
  ['retry', 'retry: 5\n\nretry: soon\ndata: a\n\n', [frame('a')]],
  ['a frame without data', 'id: 7\nevent: x\n\ndata: a\n\n', [frame('a')]],
  ['a place', 'id: 7\n: at 7\n\ndata: a\n\n', [{ name: undefined, id: '7', data: undefined }, frame('a')]],
  ['an unterminated last frame', 'data: a\n\ndata: b\n', [frame('a')]],
  ['an unterminated last line', 'data: a\n\ndata: b', [frame('a')]],
  ['an unterminated last frame after CR', 'data: a\r\rdata: b\r', [frame('a')]],
  ['a byte order mark', '\ufeffdata: a\n\n', [frame('a')]],
  ['a byte order mark elsewhere', 'data: a\n\n\ufeffdata: b\n\ndata: c\n\n', [frame('a'), frame('c')]],
  ['characters of all lengths', 'data: é漢🙂\u2028x\n\n', [frame('é漢🙂\u2028x')]],
  ['an id of its own frame only', 'id: 1\ndata: a\n\ndata: b\n\n', [frame('a', '1'), frame('b')]],
];

describe('frames of server-sent events', () => {
  test.each(cases)('%s', (_name, text, frames) => {
    expect(framesOf(bytes(text))).toEqual(frames);
  });

  test.each(cases)('%s, byte by byte', (_name, text, frames) => {
    expect(framesOf(...[...bytes(text)].map((byte) => Uint8Array.of(byte)))).toEqual(frames);
  });

  it('are the same wherever the bytes are cut, and whatever ends their lines', () => {
    const content = fc
      .string({ unit: 'grapheme', maxLength: 30 })
      .map((text) => text.replace(/[\r\n\0]/g, ''));
    const frames = fc.array(
      fc.record({ id: fc.nat(), lines: fc.array(content, { minLength: 1, maxLength: 3 }) }),
      {
        maxLength: 5,
      },
    );
    const lineEnd = fc.constantFrom('\n', '\r', '\r\n');
    fc.assert(
      fc.property(frames, lineEnd, fc.array(fc.nat()), (written, end, cuts) => {
        const text = written
          .map(({ id, lines }) => [`id: ${id}`, ...lines.map((line) => `data: ${line}`), '', ''].join(end))
          .join('');
        const all = bytes(text);
        const places = [0, ...cuts.map((cut) => cut % (all.length + 1)), all.length].toSorted(
          (a, b) => a - b,
        );
        const pieces = places.slice(1).map((place, index) => all.subarray(places[index], place));
        expect(framesOf(...pieces)).toEqual(
          written.map(({ id, lines }) => frame(lines.join('\n'), String(id))),
        );
      }),
      { numRuns: 300, seed: 6 },
    );
  });

  it('have a bound each', () => {
    const megabyte = bytes('x'.repeat(1_048_576));
    const reader = new SseReader();
    reader.push(bytes('data: '));
    const pushMore = () => {
      for (let number = 0; number < 5; number += 1) reader.push(megabyte);
    };
    expect(pushMore).toThrow(expect.objectContaining({ reason: 'invalid-answer' }));
  });

  it('have a bound each, in many lines too', () => {
    const reader = new SseReader();
    const lines = bytes(`data: ${'x'.repeat(100_000)}\n`);
    const pushMore = () => {
      for (let number = 0; number < 50; number += 1) reader.push(lines);
    };
    expect(pushMore).toThrow(expect.objectContaining({ reason: 'invalid-answer' }));
  });

  it('of which there are many have none together', () => {
    const reader = new SseReader();
    const large = bytes(`data: ${'x'.repeat(1_000_000)}\n\n`);
    for (let number = 0; number < 10; number += 1) expect(reader.push(large)).toHaveLength(1);
  });
});
