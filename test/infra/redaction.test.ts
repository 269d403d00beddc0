import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { holdsHidden, isInvisible } from '../../infra/telemetry/hidden-characters.js';
import { createRedactor, redacted } from '../../infra/telemetry/redaction.js';

const key = 'canary/Key+0123456789_abcdefghij-KLMNOPQRSTUVWXYZ';
const json = (text: string): string => JSON.stringify(text).slice(1, -1);
const unicode = (text: string): string =>
  Array.from(text, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');
const percent = (text: string): string =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');

describe('a known secret', () => {
  const redactor = createRedactor([key]);

  test.each([
    ['raw', key],
    ['base64', Buffer.from(key).toString('base64')],
    ['base64url', Buffer.from(key).toString('base64url')],
    ['base64 behind one byte', Buffer.from(`:${key}`).toString('base64')],
    ['base64 behind two bytes', Buffer.from(`::${key}`).toString('base64')],
    ['base64 within more', Buffer.from(`Basic user:${key}:more`).toString('base64')],
    ['hex', Buffer.from(key).toString('hex')],
    ['URL-escaped', encodeURIComponent(key)],
    ['URL-escaped in lower case', encodeURIComponent(key).replace(/%../g, (hex) => hex.toLowerCase())],
    ['URL-escaped twice', encodeURIComponent(encodeURIComponent(key))],
    ['URL-escaped wholly', percent(key)],
    ['JSON-escaped slashes', key.replaceAll('/', '\\/')],
    ['JSON-escaped slashes, twice', json(key.replaceAll('/', '\\/'))],
    ['JSON-escaped as code units', unicode(key)],
    ['JSON-escaped as code units, twice', json(unicode(key))],
  ])('%s', (_name, form) => {
    const text = `before ${form} after`;
    const output = redactor.text(text);
    expect(output).toContain(redacted);
    expect(output.startsWith('before ')).toBe(true);
    expect(leak(output, form)).toBe('');
  });

  test('a secret with quotes and line feeds, as JSON writes it', () => {
    const secret = 'pass"word\\with/all\nof=it';
    const quoted = createRedactor([secret]);
    expect(quoted.text(JSON.stringify({ body: secret }))).not.toContain('with');
    expect(quoted.text(JSON.stringify({ body: JSON.stringify({ secret }) }))).not.toContain('with');
  });

  test.each([
    ['the end of the text', `the key is ${key.slice(0, 14)}`],
    ['the beginning of the text', `${key.slice(-14)} was the key`],
    ['the middle', `the key is ${key.slice(5, 30)} ...`],
    ['a first half that something follows', `the key is ${key.slice(0, 24)}… [truncated]`],
    ['two halves with a mark between', `${key.slice(0, 24)}\n--- next chunk ---\n${key.slice(24)}`],
  ])('cut, in %s', (_name, text) => {
    const output = redactor.text(text);
    expect(output).toContain(redacted);
    expect(leak(output, key)).toBe('');
  });

  test('every piece of 19 characters, wherever it was cut', () => {
    for (let start = 0; start + 19 <= key.length; start += 1) {
      const output = redactor.text(`x ${key.slice(start, start + 19)} y`);
      expect(output).toBe(`x ${redacted} y`);
    }
  });

  test('put together from two deltas', () => {
    for (let cut = 1; cut < key.length; cut += 1) {
      const assembled = [`so: ${key.slice(0, cut)}`, `${key.slice(cut)}.`].join('');
      expect(redactor.text(assembled)).toBe(`so: ${redacted}.`);
    }
  });

  test('keys and values of JSON, at any depth', () => {
    const value = { [key]: [{ deep: `Bearer ${key}` }, 3, null, true] };
    expect(JSON.stringify(redactor.json(value))).not.toContain(key.slice(0, 20));
  });
});

test('ordinary text is left alone', () => {
  const redactor = createRedactor([key, 'postgres://user:pa55word@127.0.0.1:5432/agentrun']);
  for (const text of [
    'connect ECONNREFUSED 127.0.0.1:5432',
    'postgres://user@127.0.0.1:5432/agentrun',
    'canary 0123456789 abcdefghij 100 % \\u0041',
    '',
  ])
    expect(redactor.text(text)).toBe(text);
});

test('of a renewed token the current and the former one are known', () => {
  const redactor = createRedactor();
  for (const token of ['token-number-one', 'token-number-two', 'token-number-three'])
    redactor.rotate('run', token);
  expect(redactor.text('token-number-one token-number-two token-number-three')).toBe(
    `token-number-one ${redacted} ${redacted}`,
  );
});

test('a short or absent secret blanks nothing', () => {
  expect(createRedactor(['abc', undefined, '  ']).text('abc def')).toBe('abc def');
});

/** The longest piece of at least 16 characters of the secret that is still there. */
function leak(text: string, secret: string): string {
  for (let start = 0; start + 16 <= secret.length; start += 1) {
    const piece = secret.slice(start, start + 16);
    if (text.includes(piece)) return piece;
  }
  return '';
}

test('a hostile text costs no more than its length', () => {
  const redactor = createRedactor([key]);
  const startedAt = performance.now();
  for (const unit of ['\\', '%', '%25', '\\u', key.slice(0, 9)]) redactor.text(unit.repeat(200_000));
  expect(performance.now() - startedAt).toBeLessThan(5_000);
});

const webToken = 'eyJhbGciOiJFUzI1NiJ9.eyJydW4iOiJydW5fMSJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ';
test.each([
  ['alone', webToken, redacted],
  ['in a sentence', `sent ${webToken}, refused`, `sent ${redacted}, refused`],
  ['behind a dash', `token-${webToken}`, `token-${redacted}`],
  ['behind a host name', `www-example-com.${webToken}`, `www-example-com.${redacted}`],
  ['twice', `${webToken}.${webToken}`, `${redacted}.${redacted}`],
  ['of two parts, which is none', 'eyJhbGciOiJFUzI1NiJ9.eyJydW4iOiJydW5fMSJ9', undefined],
  ['within a word, which is none', `x${webToken.slice(0, 20)}.abcdefghij.abcdefghij`, undefined],
])('a JSON Web Token %s', (_name, text, expected) => {
  expect(createRedactor().text(text)).toBe(expected ?? text);
});

// What nearly matches, over and over: a shape that looks through it again from each place takes minutes here.
test.each([
  'sk-',
  '-sk-aaaaaaaa',
  'ghp_',
  'github_pat_',
  '-eyJ',
  'eyJ-',
  'eyJaaaaaaaa.',
  '-eyJaaaaaaaa.aaaaaaaa.',
  'a.',
  'Bearer ',
  'bearer  \t',
])('%j repeated to 1 MiB takes time in proportion', (unit) => {
  const redactor = createRedactor([key]);
  const startedAt = performance.now();
  redactor.text(unit.repeat(Math.ceil(1_048_576 / unit.length)));
  expect(performance.now() - startedAt).toBeLessThan(3_000);
});

describe('characters that show nothing', () => {
  const hidden = [
    '\x07',
    '\0',
    '\x01',
    '\x02',
    '\x1b',
    '\x9b',
    '\v',
    '\x7f',
    '\u00ad',
    '\u200b',
    '\u2060',
    '\ufeff',
    '\ufe0f',
    '\u034f',
    '\u{e0041}',
    '\x1b[0m',
    '\x1b[38;5;196m',
    '\x1b(B',
    '\x1b]8;;https://example.com\x07',
    '\x1b]8;;\x1b\\',
    '\\u001b[0m',
    '\\\\u001b[31m',
    '\\u200B',
    '\\u0007',
  ];
  const secrets = [key, 'hunter2-pass', 'my pass wörd', 'with\u200bzero-width'];
  const forms = (secret: string) => [
    secret,
    Buffer.from(secret).toString('base64url'),
    Buffer.from(secret).toString('hex'),
    percent(secret),
  ];

  test('between those of a secret hide it from nobody', () => {
    const redactor = createRedactor(secrets);
    const cases = fc.constantFrom(...secrets.flatMap(forms)).chain((form) =>
      fc
        .array(fc.oneof({ weight: 3, arbitrary: fc.constant('') }, fc.constantFrom(...hidden)), {
          minLength: form.length,
          maxLength: form.length,
        })
        // What stands behind a lone escape is read as its letter, or as a colour: one or the other throughout.
        .filter(
          (gaps) => !gaps.includes('\x1b') || gaps.every((gap) => gap === '\x1b' || !gap.includes('\x1b')),
        )
        .map((gaps) => Array.from(form, (character, at) => character + (gaps[at] ?? '')).join('')),
    );
    fc.assert(
      fc.property(cases, fc.constantFrom(...hidden, ' '), (form, before) => {
        const output = redactor.text(`${before}so: ${form} and on`);
        expect(output).toMatch(/so: \[redacted\].{0,40} and on$/su);
        expect(redactor.text(output)).toBe(output);
      }),
      { numRuns: 400 },
    );
  });

  test('hide nothing where a lone escape and another character could be a sequence', () => {
    const redactor = createRedactor(secrets);
    const split = 'b\x1bXkg\x07c\x07GFzcyB\x073\x07w7\x07ZyZA';
    // Its last character also depends on what follows.
    expect(redactor.text(`so: ${split} and on`)).toBe(`so: ${redacted}A and on`);
  });

  test('are found whatever stands beside them', () => {
    for (let code = 0; code <= 0x1ffff; code += 1) {
      if (code === 0xd800) code = 0xe000;
      const character = String.fromCodePoint(code);
      if (holdsHidden(`naïve “text” ${character} → 文`) !== isInvisible(character))
        expect.unreachable(`U+${code.toString(16)}`);
    }
  });

  test('stay where there is no secret, and hide no shape of a credential', () => {
    const redactor = createRedactor([key]);
    const coloured = '\x1b[31mred\x1b[0m 👩‍💻 C:\\foo\\bar\u200b\x07 \\u001b[0m';
    expect(redactor.text(coloured)).toBe(coloured);
    expect(redactor.text(`${coloured} ${key} ${coloured}`)).toBe(`${coloured} ${redacted} ${coloured}`);
    const token = 'abcdefghij0123456789';
    expect(redactor.text(`x\x1b[1msk-${token}\x1b[0m`)).toBe(`x\x1b[1m${redacted}\x1b[0m`);
    expect(redactor.text(`key sk-abcd\x1b[1m${token} ok`)).toBe(`key ${redacted} ok`);
    expect(redactor.text(`Bearer ${token}\0, Bearer ${token}${key}`)).toBe(
      `Bearer ${redacted}\0, Bearer ${redacted}${redacted}`,
    );
  });

  test('what was found says where it stands', () => {
    const redactor = createRedactor([key]);
    const split = `${key.slice(0, 9)}\x1b[0m${key.slice(9)}`;
    const text = `\u200b${split} and ${key}${key}, \x07.`;
    expect(redactor.find(text).map(({ from, to }) => text.slice(from, to))).toEqual([split, key, key]);
    expect(redactor.find('nothing \x07')).toEqual([]);
  });

  test.each(['\x1b', '\x1b]', '\x1b]a', '\x1b[', '\x1b[0', '\\', '\\u001b]a', 'a\u200b', '\0', 'eyJ\0.'])(
    '%j repeated to 1 MiB takes time in proportion',
    (unit) => {
      const redactor = createRedactor([key]);
      const startedAt = performance.now();
      redactor.text(unit.repeat(Math.ceil(1_048_576 / unit.length)));
      expect(performance.now() - startedAt).toBeLessThan(5_000);
    },
  );
});
