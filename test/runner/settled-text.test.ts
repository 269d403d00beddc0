import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createRedactor } from '../../infra/telemetry/redaction.js';
import { settledText } from '../../runner/supervisor/settled-text.js';

const key = 'canary-0123456789abcdefghijklmnop';
const shaped = 'sk-abcdefghij0123456789KLMN';
const webToken = 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJydW5uZXIifQ.c2lnbmF0dXJlLW9mLWEtdG9rZW4';
const phrase = 'my wörd';
/** With a colour, a zero-width space and others between its characters: who reads it sees the secret. */
const hiddenIn = (secret: string) =>
  ['\x1b[0m', '\u200b', '\x07', '\0', '\\u001b[1m', '\u{e0041}'].map((hidden) =>
    Array.from(secret).join(hidden),
  );
const secrets = [
  key,
  ...hiddenIn(key),
  ...hiddenIn(phrase),
  `${key.slice(0, 12)}\x1b[31m${key.slice(12)}`,
  Buffer.from(key).toString('base64'),
  encodeURIComponent(key),
  shaped,
  `Bearer ${shaped.slice(3)}`,
  webToken,
  phrase,
  JSON.stringify(phrase),
  encodeURIComponent(phrase),
];
const words = [
  'the',
  'key',
  'is',
  '`',
  '\n\n',
  'voilà',
  '文字',
  '😀',
  '\0',
  '\x1b[1;31m',
  '\x1b',
  '\u200b',
  '\u{e0041}',
  'canary-',
  'eyJ',
  'Bearer',
  '=',
  '[redacted]',
];

/** A text with secrets in it, and where it is cut. */
const written = fc
  .array(fc.oneof(fc.constantFrom(...secrets), fc.constantFrom(...words), fc.string({ maxLength: 12 })), {
    minLength: 1,
    maxLength: 60,
  })
  .chain((parts) =>
    fc
      .array(fc.constantFrom('', ' ', '\n'), { minLength: parts.length, maxLength: parts.length })
      .map((gaps) => parts.map((part, at) => `${part}${gaps[at]}`).join('')),
  )
  .chain((text) => fc.tuple(fc.constant(text), fc.array(fc.nat(text.length), { maxLength: 30 })));

const storable = (text: string) => text.replace(/\0|\p{Surrogate}/gu, '\u{fffd}');

describe.each([
  ['opaque keys', createRedactor([key])],
  ['keys, and one that holds white space', createRedactor([key, phrase])],
])('what is certain of a text that is being written: %s', (_name, redactor) => {
  test('it only grows, is the beginning of the redacted whole, and no secret shows wherever it is cut', () => {
    fc.assert(
      fc.property(written, ([text, cuts]) => {
        const whole = storable(redactor.text(text));
        let sent = '';
        for (const cut of [...cuts, text.length].toSorted((left, right) => left - right)) {
          const now = settledText(text.slice(0, cut), redactor);
          expect(now.startsWith(sent)).toBe(true);
          expect(whole.startsWith(now)).toBe(true);
          sent = now;
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('cut at every place, no 8 characters of the key are ever in it', () => {
    const text = `Use ${key}, or ${encodeURIComponent(key)}\nand Bearer ${key} now. That is all of it, and more words follow.`;
    for (let cut = 0; cut <= text.length; cut += 1) {
      const shown = settledText(text.slice(0, cut), redactor);
      for (let at = 0; at + 8 <= key.length; at += 1) expect(shown).not.toContain(key.slice(at, at + 8));
    }
  });

  test('at the end of a line everything is certain', () => {
    const text = `I look at ${key} first.\n`;
    const enough = `${text}${'and so on '.repeat(200)}`;
    expect(settledText(enough, redactor)).toContain('I look at [redacted] first.\n');
  });
});

test('a secret with white space is held back as far as it may reach, then found', () => {
  const redactor = createRedactor([phrase]);
  expect(settledText(`the phrase is ${phrase.slice(0, 5)}`, redactor)).toBe('the phrase is ');
  const later = `the phrase is ${phrase} ${'and so on '.repeat(200)}`;
  expect(settledText(later, redactor).startsWith('the phrase is [redacted] and')).toBe(true);
});

test('a long secret of many lines holds back as many words, not a multiple of its length', () => {
  const lines =
    randomBytes(1_250)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  const secret = ['-----BEGIN KEY-----', ...lines, '-----END KEY-----'].join('\n');
  const redactor = createRedactor([secret]);
  const prose = 'a word '.repeat(600);
  expect(settledText(prose, redactor).length).toBeGreaterThan(prose.length - 150);
  // None of it shows before it is whole, also not where it is escaped in part.
  for (const form of [secret, secret.replaceAll('A', '\\\\\\\\u0041')])
    for (let cut = 1; cut <= form.length; cut += form.length / 100)
      expect(settledText(`${prose}${form.slice(0, cut)}`, redactor)).not.toMatch(/BEGIN|\[r/);
  expect(settledText(`so: ${secret} ${prose}`, redactor)).toContain('so: [redacted] a word');
});

test.each(hiddenIn(key))('no more than the words before it shows of %j', (form) => {
  const redactor = createRedactor([key]);
  for (let cut = 0; cut <= form.length; cut += 1) {
    const shown = settledText(`the key is ${form.slice(0, cut)}`, redactor);
    expect(shown).toBe('the key is ');
  }
});

test('text without white space grows too, where it is not ASCII', () => {
  expect(settledText('漢字はここにあります', createRedactor([key]))).toBe('漢字はここにあります');
});

test('half a surrogate pair waits for the other half; what Postgres cannot hold is replaced', () => {
  const redactor = createRedactor();
  expect(settledText('ok 😀'.slice(0, 4), redactor)).toBe('ok ');
  const shown = settledText('a\0b \ud800 c ', redactor);
  expect(shown).toBe('a\u{fffd}b \u{fffd} c ');
});
