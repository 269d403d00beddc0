// domain/plain-text.ts does the same for transcripts, where no import from here is allowed; test/cli/same-text.test.ts holds them together.

// But for newline and tab; beside control characters the marks that turn the direction of text, and the separators that some terminals take for a new line.
const controls = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;
const startOfSequence = String.fromCodePoint(0x1b);
/** What `styleText` writes for the colours that we use: text that was escaped before has none. */
const colours = new RegExp(`(${startOfSequence}\\[(?:3[0-79]|9[0-7])m)`);

/** Colours and other attributes, of any program. */
const attributes = new RegExp(`${startOfSequence}\\[[0-9;:]*m`, 'g');

const escaped = (character: string) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`;

/**
 * Text of an agent, or of anybody, for a terminal: control characters are shown as `\u001b`, so that they neither colour, hide, move nor answer
 * anything. Newlines and tabs stay.
 */
export function escapeText(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(controls, escaped);
}

/** The same as one line. */
export function oneLine(text: string): string {
  return escapeText(text).replaceAll('\n', '\\n');
}

/** What a program has printed, without its colours. It is to be escaped all the same. */
export function withoutColours(text: string): string {
  return text.replace(attributes, '');
}

/** Text with our colours in it: whatever else controls the terminal is escaped. */
export function escapeStyled(text: string): string {
  return text
    .split(colours)
    .map((part, index) => (index % 2 === 1 ? part : escapeText(part)))
    .join('');
}

/** JSON on one line, with the control characters that JSON leaves as they are escaped too. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value).replace(controls, escaped);
}

/** A failure with the message that stands in a provider's JSON in place of the JSON. It is to be escaped afterwards. */
export function readableError(text: string): string {
  const [start, end] = [text.indexOf('{'), text.lastIndexOf('}') + 1];
  if (start === -1 || end <= start) return text;
  try {
    const message = fieldOf(fieldOf(JSON.parse(text.slice(start, end)), 'error'), 'message');
    return typeof message === 'string' ? text.slice(0, start) + message + text.slice(end) : text;
  } catch {
    return text;
  }
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
