/** Control characters but for tabs and line ends, which show; formats such as a zero-width space; and what is to be ignored. */
const invisible = String.raw`\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\p{Cf}\p{Default_Ignorable_Code_Point}`;
/** The same as JSON writes it: a line of the log is JSON, and so is much of what tools answer. */
const written = String.raw`(?<!\\)\\+(?:u(?:00[0189][\da-f]|007f|00ad|200[b-f]|20[26][\da-f]|feff)|[bf])`;
/** A run of them ends before what may begin a sequence. */
const hidden = String.raw`\x1b|(?:(?!\x1b)[${invisible}])+|${written}`;
const start = String.raw`(?:\x1b|(?<!\\)\\+u001b)`;
/** Colours, links and other orders to a terminal. None holds white space or a character beyond ASCII (`settledText`): those that do are left as they are. */
const sequence = [
  String.raw`${start}\[[0-?]{0,64}[!-/]{0,8}[@-~]`,
  String.raw`\x1b[\]PX^_][!-~]{0,1000}?(?:\x07|\x1b\\)`,
].join('|');
const shortSequence = `${start}[!-/]{0,4}[0-~]`;

const pattern = (source: string, flags: string) => new RegExp(source, flags);
const anyInvisible = pattern(`[${invisible}]`, 'u');
/** All but some ranges that hold nothing invisible, and most of what is written: a class of code points is five times as slow to look for. */
const anyUnusual = pattern(
  String.raw`[^\t\n\r -~\xa0-\xac\xae-\u034e\u0350-\u05ff\u2010-\u2027\u2030-\u205e\u2070-\u3163\u3165-\ud7ff]`,
  '',
);
const anyWritten = /\\(?:u(?:00[0189a]|007f|20[026]|feff)|[bf])/i;
const anyStart = pattern(start, 'iu');
const anyMark = pattern(String.raw`[\0\x01]`, 'g');
const filler = '\x02';
const nothing = /(?!)/g;
const inSequences = pattern(`${sequence}|${hidden}`, 'giu');
const inAllSequences = pattern(`${sequence}|${shortSequence}|${hidden}`, 'giu');
const hiddenOnly = pattern(hidden, 'giu');

/** A text as its readers may see it, and where in the text itself each of its UTF-16 units stands. */
export interface Reading {
  readonly text: string;
  readonly at: Uint32Array;
}

/** Whether a text may hold characters that show nothing. */
export const holdsHidden = (text: string): boolean =>
  (anyUnusual.test(text) && anyInvisible.test(text)) || (text.includes('\\') && anyWritten.test(text));

/** Whether this one character shows nothing. */
export const isInvisible = (character: string): boolean => anyInvisible.test(character);

/**
 * The text as it is; with something that is no letter in the place of what shows nothing; and without it, of a sequence that is none for every terminal
 * once with its letter too, and once with all but its beginning. All of them without U+0000 and U+0001.
 */
export function readingsOf(text: string): Reading[] {
  const whole = readingWithout(text.replace(anyMark, filler), nothing);
  const without = readingWithout(text, inSequences);
  if (without.text.length === text.length) return [whole];
  const apart = text.replace(inSequences, (found) => filler.repeat(found.length));
  const readings = [whole, { text: apart, at: whole.at }, without];
  if (anyStart.test(text))
    readings.push(readingWithout(text, inAllSequences), readingWithout(text, hiddenOnly));
  return readings;
}

function readingWithout(text: string, left: RegExp): Reading {
  const at = new Uint32Array(text.length);
  let read = '';
  let done = 0;
  const keep = (end: number): void => {
    for (let from = done, to = read.length; from < end; from += 1, to += 1) at[to] = from;
    read += text.slice(done, end);
  };
  for (const { 0: found, index } of text.matchAll(left)) {
    keep(index);
    done = index + found.length;
  }
  keep(text.length);
  return { text: read, at };
}
