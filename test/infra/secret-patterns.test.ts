import fc from 'fast-check';
import { expect, it } from 'vitest';
import { lookAt, secretPattern } from '../../infra/telemetry/secret-patterns.js';

const letters: Readonly<Record<string, string>> = { '"': '"', '/': '/', '\n': 'n' };
const hexOf = (value: number, digits: number) => value.toString(16).padStart(digits, '0');

/** One character in each of the ways in which it may be escaped. */
function escapesOf(character: string): string[] {
  const percent = [...Buffer.from(character)].map((byte) => hexOf(byte, 2));
  const unit = hexOf(character.charCodeAt(0), 4);
  const letter = letters[character];
  return [
    ...['%', '%25', '%252525'].map((sign) => percent.map((byte) => `${sign}${byte}`).join('')),
    percent.map((byte) => `%${byte.toUpperCase()}`).join(''),
    ...['\\', '\\\\', '\\'.repeat(16)].map((sign) => `${sign}u${unit}`),
    ...(letter === undefined ? [] : [`\\${letter}`, `\\\\\\${letter}`]),
  ];
}

/** What is looked for, as one pattern of all characters. */
function wholePattern(secret: string): RegExp {
  const anyCase = (hex: string) => hex.replace(/[a-f]/g, (digit) => `[${digit}${digit.toUpperCase()}]`);
  const sources = Array.from(secret, (character) => {
    const percent = [...Buffer.from(character)]
      .map((byte) => `%(?:25){0,3}${anyCase(hexOf(byte, 2))}`)
      .join('');
    const unit = `\\\\{1,16}u${anyCase(hexOf(character.charCodeAt(0), 4))}`;
    const letter = letters[character];
    const short = letter === undefined ? [] : [`\\\\{1,16}${letter}`];
    return `(?:${[unit, percent, ...short, character].join('|')})`;
  });
  return new RegExp(sources.join(''), 'g');
}

// Few characters, so that beginnings of the secret come again and again; none is a hexadecimal digit, none makes a piece of base64.
const characters = ['x', 'y', '/', '"', '\n', '-', 'é', '語'];
const secrets = fc
  .array(fc.constantFrom(...characters), { minLength: 6, maxLength: 9 })
  .map((parts) => parts.join(''));
const written = (character: string) => fc.constantFrom(character, character, ...escapesOf(character));

it('a secret of which characters are escaped is found where a pattern of the whole secret finds it', () => {
  const cases = secrets.chain((secret) =>
    fc.record({
      secret: fc.constant(secret),
      text: fc
        .array(
          fc.oneof(
            { weight: 3, arbitrary: fc.tuple(...Array.from(secret, written)).map((parts) => parts.join('')) },
            { weight: 3, arbitrary: fc.constantFrom(...characters).chain(written) },
            { weight: 1, arbitrary: fc.nat(secret.length).map((length) => secret.slice(0, length)) },
            {
              weight: 1,
              arbitrary: fc.constantFrom('%', '\\', '%2', '\\u00', '\\\\', '%25', '\\n', 'u', 'z'),
            },
          ),
          { maxLength: 12 },
        )
        .map((parts) => parts.join('')),
    }),
  );
  fc.assert(
    fc.property(cases, ({ secret, text }) => {
      const plain = text.replaceAll(secret, '#');
      expect(secretPattern(secret).replace(text, () => '#', lookAt(text))).toBe(
        /[%\\]/.test(plain) ? plain.replace(wholePattern(secret), '#') : plain,
      );
    }),
    { numRuns: 600 },
  );
});

it.each(['pass\\word', 'rate=100%sure'])(
  'a secret that holds the sign of an escape is found escaped: %s',
  (secret) => {
    for (const form of [JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret)]) {
      const text = `before ${form} after`;
      expect(secretPattern(secret).replace(text, () => '#', lookAt(text))).toBe('before # after');
    }
  },
);

it('a long word is found wherever it stands', () => {
  const word = fc.constantFrom('a', 'Z', '9', '_', '+', '/', '=', '.', '~', '-', ' ', '"', 'é');
  fc.assert(
    fc.property(fc.string({ unit: word, maxLength: 60 }), (text) => {
      expect(lookAt(text).hasLongWord).toBe(/[\w+/=.~-]{16}/.test(text));
    }),
    { numRuns: 2_000 },
  );
  fc.assert(
    fc.property(fc.nat(40), fc.integer({ min: 14, max: 18 }), fc.nat(40), (before, length, after) => {
      const text = `${' '.repeat(before)}${'x'.repeat(length)}${' '.repeat(after)}`;
      expect(lookAt(text).hasLongWord).toBe(length >= 16);
    }),
  );
});
