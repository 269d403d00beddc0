/** A value shorter than this is not searched for: it would blank out ordinary words. */
export const shortestSecretLength = 6;
/** Shortest piece of a base64 form that is searched for: below it ordinary words match. */
const shortestEncodedPiece = 8;
/** A piece of a secret of this length gives it away, wherever in a text it stands. */
const pieceLength = 16;
const pieceStride = 4;
/** At the very end or beginning of a text, where it was cut, less is enough. */
const shortestCutPiece = 10;
/** Tokens are longer, and share their first part with every other token; what looks like one is found by its shape. */
const longestPiecewise = 200;

/** Finds one secret in texts, in every form in which it may come back from outside. */
export interface SecretPattern {
  /**
   * Replaces the secret, its encoded forms and telling pieces of it.
   *
   * @param look at the text, or at what it was before others replaced parts of it.
   */
  replace(text: string, replacement: Replacement, look: TextLook): string;
}

/** What stands in the place of what is found. */
export type Replacement = (found: string) => string;

/** What is found out about a text once, for all secrets that are looked for. */
export interface TextLook {
  readonly text: string;
  /** Where none is, no shape of a credential is either. */
  readonly hasLongWord: boolean;
  /** Whether it begins or ends with as much of a word as is looked for of a secret that was cut. */
  readonly isCutWord: boolean;
  readonly escapes: readonly Escape[];
  /** For which characters the escapes are, each once. */
  readonly escaped: readonly string[];
}

export function lookAt(text: string): TextLook {
  const escapes = escapesIn(text);
  return {
    text,
    hasLongWord: holdsLongWord(text),
    isCutWord: isWord(text, 0) || isWord(text, text.length - shortestCutPiece),
    escapes,
    escaped: escapes.length === 0 ? [] : [...new Set(escapes.map(({ character }) => character))],
  };
}

/** A place where an escape may begin, with the character that it is for. */
interface Escape {
  readonly at: number;
  readonly character: string;
}

/** As many letters, digits and few signs in a row as a piece of an opaque secret has. */
const wholeLongWord = /^[\w+/=.~-]{16,}$/;
const ofWord = Uint8Array.from({ length: 128 }, (_, code) =>
  /[\w+/=.~-]/.test(String.fromCharCode(code)) ? 1 : 0,
);
const isOfWord = (code: number) => code < 128 && ofWord[code] === 1;

/** Whether a piece as long as what is looked for of a secret that was cut is one word. */
function isWord(text: string, from: number): boolean {
  if (text.length < shortestCutPiece) return false;
  for (let at = from; at < from + shortestCutPiece; at += 1) if (!isOfWord(text.charCodeAt(at))) return false;
  return true;
}

/**
 * Whether a text holds a word that long, as most forms of most secrets are: where none is, which is nearly everywhere, these are not looked for one by one.
 * Looks from where such a word would end back to where it would begin; what is not of a word ends the look, and the next one begins behind it.
 */
function holdsLongWord(text: string): boolean {
  let start = 0;
  while (start + pieceLength <= text.length) {
    let at = start + pieceLength - 1;
    while (at >= start && isOfWord(text.charCodeAt(at))) at -= 1;
    if (at < start) return true;
    start = at + 1;
  }
  return false;
}

/**
 * The pattern of a secret: raw, base64 (both alphabets, also inside a longer encoded text), hex, URL- and JSON-escaped (also partly, and escaped
 * again). Of an opaque key pieces are found too: a text that was cut, or put together from two halves of which one was cut, still tells most of it.
 */
export function secretPattern(secret: string): SecretPattern {
  const forms = [secret, ...encodedForms(secret)];
  const shortForms = forms.filter((form) => !wholeLongWord.test(form));
  const replaceEscaped = escapedReplacer(secret);
  const piecewise = isOpaque(secret) ? piecesOf(secret) : [];
  const shortest = Math.min(
    ...forms.map(({ length }) => length),
    piecewise.length === 0 ? secret.length : shortestCutPiece,
  );
  return {
    replace(text, replacement, look) {
      if (text.length < shortest) return text;
      let output = text;
      for (const form of look.hasLongWord ? forms : shortForms)
        if (output.includes(form)) output = output.replaceAll(form, (found) => replacement(found));
      output = replaceEscaped(output, replacement, output === look.text ? look : lookAt(output));
      if (look.hasLongWord)
        for (const piece of piecewise) output = replacePiece(output, secret, piece, replacement);
      // What was replaced is in no word: where a text now ends with one, it did before, or there was a long one.
      return piecewise.length === 0 || !(look.isCutWord || look.hasLongWord)
        ? output
        : replaceCutPieces(output, secret, replacement);
    },
  };
}

/** Letters, digits and few signs: no address or sentence, whose pieces are ordinary text. */
function isOpaque(secret: string): boolean {
  return secret.length <= longestPiecewise && wholeLongWord.test(secret);
}

/** Windows of the secret: every piece of at least `pieceLength + pieceStride - 1` characters holds one. */
function piecesOf(secret: string): { at: number; text: string }[] {
  const pieces: { at: number; text: string }[] = [];
  for (let at = 0; at + pieceLength <= secret.length; at += pieceStride)
    pieces.push({ at, text: secret.slice(at, at + pieceLength) });
  return pieces;
}

function replacePiece(
  text: string,
  secret: string,
  piece: { at: number; text: string },
  replacement: Replacement,
): string {
  let output = '';
  let done = 0;
  for (
    let found = text.indexOf(piece.text);
    found >= 0;
    found = text.indexOf(piece.text, Math.max(done, found + 1))
  ) {
    if (found < done) continue;
    let start = found;
    for (let at = piece.at; start > done && at > 0 && text[start - 1] === secret[at - 1]; at -= 1) start -= 1;
    let end = found + piece.text.length;
    for (
      let at = piece.at + piece.text.length;
      end < text.length && at < secret.length && text[end] === secret[at];
      at += 1
    )
      end += 1;
    output += text.slice(done, start) + replacement(text.slice(start, end));
    done = end;
  }
  return done === 0 ? text : output + text.slice(done);
}

/** A text that ends with the secret's beginning, or begins with its end. */
function replaceCutPieces(text: string, secret: string, replacement: Replacement): string {
  if (text.length < shortestCutPiece) return text;
  let output = text;
  const cutAtEnd = secret.includes(text.slice(-shortestCutPiece));
  for (
    let length = cutAtEnd ? Math.min(secret.length - 1, output.length) : 0;
    length >= shortestCutPiece;
    length -= 1
  ) {
    if (!output.endsWith(secret.slice(0, length))) continue;
    output = output.slice(0, -length) + replacement(output.slice(-length));
    break;
  }
  const cutAtBeginning = secret.includes(output.slice(0, shortestCutPiece));
  for (
    let length = cutAtBeginning ? Math.min(secret.length - 1, output.length) : 0;
    length >= shortestCutPiece;
    length -= 1
  ) {
    if (!output.startsWith(secret.slice(-length))) continue;
    output = replacement(output.slice(0, length)) + output.slice(length);
    break;
  }
  return output;
}

/** What of the secret's base64 is the same wherever it stands in a longer text, for its three positions; and hex. */
function encodedForms(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  const forms = new Set<string>();
  for (const before of [0, 1, 2]) {
    const base64 = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64');
    // The first characters also depend on what stands before, the last on what follows.
    const certain = base64.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
    if (certain.length < shortestEncodedPiece) continue;
    forms.add(certain);
    forms.add(certain.replaceAll('+', '-').replaceAll('/', '_'));
  }
  const hex = bytes.toString('hex');
  forms.add(hex);
  forms.add(hex.toUpperCase());
  return [...forms];
}

/** JSON's escapes of one letter, as the pattern of what follows the backslash. */
const shortEscapes: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\\\',
  '/': '\\/',
  '\n': 'n',
  '\r': 'r',
  '\t': 't',
  '\b': 'b',
  '\f': 'f',
};
const escapedLetters = new Map(
  Object.entries(shortEscapes).map(([character, letter]) => [letter.replace('\\', ''), character]),
);

/**
 * Replaces the secret where at least one of its characters is escaped. A pattern of the whole secret is large, slow to compile and slow to try at every
 * character of a text; so it is made only when an escape of one of its characters is found behind those that come before it in the secret.
 */
function escapedReplacer(secret: string): (text: string, replacement: Replacement, look: TextLook) => string {
  let whole: RegExp | undefined;
  // What begins an escape may then be a character as it is, and a character of two units cannot be counted in units.
  if (/[%\\]/.test(secret) || Array.from(secret).length !== secret.length)
    return (text, replacement) => {
      if (!text.includes('%') && !text.includes('\\')) return text;
      whole ??= escapedForm(secret, 'g');
      return text.replace(whole, (found) => replacement(found));
    };
  const places = new Map<string, number[]>();
  for (const [place, character] of Array.from(secret).entries()) {
    const key = character < '\u0080' ? character : beyondAscii;
    places.set(key, [place, ...(places.get(key) ?? [])]);
  }
  return (text, replacement, { escapes, escaped }) => {
    if (!escaped.some((character) => places.has(character))) return text;
    let output = '';
    let done = 0;
    for (const { at, character } of escapes) {
      // The longest beginning first, which is the match that a search from the left finds.
      for (const place of places.get(character) ?? []) {
        const start = at - place;
        if (start < done || !text.startsWith(secret.slice(0, place), start)) continue;
        whole ??= escapedForm(secret, 'y');
        whole.lastIndex = start;
        if (!whole.test(text)) continue;
        output += text.slice(done, start) + replacement(text.slice(start, whole.lastIndex));
        done = whole.lastIndex;
        break;
      }
    }
    return done === 0 ? text : output + text.slice(done);
  };
}

const beyondAscii = 'beyond';
const mostBackslashes = 16;

/** Every escape of a text, as {@link escapedSources} says. */
function escapesIn(text: string): Escape[] {
  const escapes: Escape[] = [];
  let percent = text.indexOf('%');
  let backslash = text.indexOf('\\');
  while (percent !== -1 || backslash !== -1) {
    const isPercent = backslash === -1 || (percent !== -1 && percent < backslash);
    const at = isPercent ? percent : backslash;
    const character = isPercent ? percentEscaped(text, at) : backslashEscaped(text, at);
    if (character !== undefined) escapes.push({ at, character });
    if (isPercent) percent = text.indexOf('%', at + 1);
    else backslash = text.indexOf('\\', at + 1);
  }
  return escapes;
}

function percentEscaped(text: string, at: number): string | undefined {
  let from = at + 1;
  for (let round = 0; round < 3 && text.startsWith('25', from); round += 1) from += 2;
  return characterOf(text.slice(from, from + 2), 2);
}

function backslashEscaped(text: string, at: number): string | undefined {
  let from = at + 1;
  while (from - at <= mostBackslashes && text[from] === '\\') from += 1;
  if (from - at > mostBackslashes) return undefined;
  const letter = text[from] ?? '';
  return letter === 'u' ? characterOf(text.slice(from + 1, from + 5), 4) : escapedLetters.get(letter);
}

function characterOf(hex: string, digits: number): string | undefined {
  if (hex.length < digits || !/^[0-9a-f]+$/i.test(hex)) return undefined;
  const code = Number.parseInt(hex, 16);
  return code < 0x80 ? String.fromCharCode(code) : beyondAscii;
}

/** Each character as it is or escaped. */
function escapedForm(secret: string, flags: 'g' | 'y'): RegExp {
  const characters = Array.from(secret, (character) => {
    const plain = character.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
    return `(?:${[...escapedSources(character), plain].join('|')})`;
  });
  return new RegExp(characters.join(''), flags);
}

/** A character escaped: `%2F`, `\u002f`, `\/`, and the backslashes doubled by another round. */
function escapedSources(character: string): string[] {
  // Escaped again, the percent sign is %25 itself.
  const percent = [...Buffer.from(character)]
    .map((byte) => `%(?:25){0,3}${anyCase(byte.toString(16).padStart(2, '0'))}`)
    .join('');
  const units = Array.from(
    { length: character.length },
    (_, index) => `\\\\{1,16}u${anyCase(character.charCodeAt(index).toString(16).padStart(4, '0'))}`,
  ).join('');
  const letter = shortEscapes[character];
  return [units, percent, ...(letter === undefined ? [] : [`\\\\{1,16}${letter}`])];
}

function anyCase(hex: string): string {
  return hex.replace(/[a-f]/g, (letter) => `[${letter}${letter.toUpperCase()}]`);
}
