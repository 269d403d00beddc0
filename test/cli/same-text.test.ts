import { describe, expect, test } from 'vitest';
import * as shown from '../../cli/terminal-text.js';
import * as written from '../../domain/plain-text.js';

const everyCharacter = Array.from({ length: 0x1_0000 }, (_, code) => String.fromCharCode(code));

/** The command line and the transcripts of the API cannot import each other's: they must not drift apart. */
describe('text of others is treated in the same way where it is shown and where it is written', () => {
  test('each character', () => {
    for (const character of everyCharacter)
      expect(written.plainText(`a${character}b`)).toBe(shown.escapeText(`a${character}b`));
  });

  test.each([
    'a\r\nb\rc\td\n',
    '\u001b[31mred\u001b[0m \u001b[38;5;1m \u001b[38:2::1:2:3m \u001b[2J \u001b]0;x\u0007',
    '\u009b1A\u202e\u2066\u2028\u2029\u061c',
    'grüße 👩\u200d💻 שלום \ud800',
  ])('%j', (text) => {
    expect(written.plainText(text)).toBe(shown.escapeText(text));
    expect(written.printedText(text)).toBe(shown.escapeText(shown.withoutColours(text)));
  });

  test.each([
    ['{"error":{"message":"no key","type":"x"}}', 'no key'],
    [
      'unexpected status 429: {"error":{"message":"slow {down}"}}, url: x',
      'unexpected status 429: slow {down}, url: x',
    ],
    ['{"error":"text"}', '{"error":"text"}'],
    ['{"error":null}', '{"error":null}'],
    ['{"message":"other"}', '{"message":"other"}'],
    ['a {b} c', 'a {b} c'],
    ['} {', '} {'],
    ['{"error":{"message":"cut', '{"error":{"message":"cut'],
    ['', ''],
  ])('a failure %j', (text, readable) => {
    expect(shown.readableError(text)).toBe(readable);
    expect(written.readableError(text)).toBe(readable);
  });
});
