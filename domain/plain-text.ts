// For a person, in a place that may be a terminal: nothing in it moves a cursor, hides, or turns the direction of text. cli/terminal-text.ts does the same
// where no import from here is allowed; test/cli/same-text.test.ts holds them together.

// But for newline and tab; beside control characters the marks that turn the direction of text, and separators that some take for a new line.
const controls = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;
const startOfSequence = String.fromCodePoint(0x1b);
/** Colours and other attributes, as programs write them into their output. */
const attributes = new RegExp(`${startOfSequence}\\[[0-9;:]*m`, 'g');

/** Text of anybody: control characters are shown as `\u001b`. Newlines and tabs stay. */
export function plainText(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .replace(controls, (character) => `\\u${(character.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`);
}

/** The same of what a program has printed: its colours are left out. */
export function printedText(text: string): string {
  return plainText(text.replace(attributes, ''));
}

/** A failure with the message that stands in a provider's JSON in place of the JSON. It is to be made plain afterwards. */
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

/** The first `limit` UTF-16 units, never half a character, and how many units were left off. */
export function firstPart(text: string, limit: number): { text: string; omitted: number } {
  if (text.length <= limit) return { text, omitted: 0 };
  const end = isLowSurrogate(text, limit) ? limit - 1 : limit;
  return { text: text.slice(0, end), omitted: text.length - end };
}

/** The last `limit` UTF-16 units, never half a character. */
export function lastPart(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const start = text.length - limit;
  return text.slice(isLowSurrogate(text, start) ? start + 1 : start);
}

function isLowSurrogate(text: string, index: number): boolean {
  const unit = text.charCodeAt(index);
  return unit >= 0xdc00 && unit <= 0xdfff;
}
