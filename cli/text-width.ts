const graphemes = new Intl.Segmenter();
// East Asian wide and full-width blocks, and what is shown as an emoji; the terminal has the last word (cli/live-block.ts switches its wrapping off).
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}\p{Emoji_Presentation}]|\ufe0f/u;
const invisible = /^[\p{Mn}\p{Me}\p{Cf}]+$/u;

function widthOf(grapheme: string): number {
  if (wide.test(grapheme)) return 2;
  return invisible.test(grapheme) ? 0 : 1;
}

const widthOfText = (text: string) =>
  [...graphemes.segment(text)].reduce((sum, { segment }) => sum + widthOf(segment), 0);

/**
 * Cuts one line of escaped text into pieces that are at most `columns` wide, the first one `first`: at a blank, which is left out, or within a word that
 * is longer; characters are never cut. Tabs become blanks.
 */
export function wrapped(line: string, columns: number, first = columns): string[] {
  const pieces: string[] = [];
  let piece = '';
  let width = 0;
  for (const { segment } of graphemes.segment(line.replaceAll('\t', '    '))) {
    const more = widthOf(segment);
    if (width + more > (pieces.length === 0 ? first : columns) && piece !== '') {
      const isBlank = segment === ' ';
      const blank = isBlank ? -1 : piece.lastIndexOf(' ');
      const head = piece.slice(0, Math.max(0, blank));
      const isBetweenWords = head.trim() !== '';
      pieces.push(isBetweenWords ? head.trimEnd() : piece);
      piece = isBetweenWords ? piece.slice(blank + 1) : '';
      width = widthOfText(piece);
      if (isBlank) continue;
    }
    piece += segment;
    width += more;
  }
  return [...pieces, piece];
}

/** What stands before the lines of a text but its first one. */
export const indent = '  ';
const narrowestFirst = 8;

/** The lines of a text that begins behind a label of `labelWidth` columns, the others behind `indent`; with `columns` as wide as the terminal. */
export function textLines(text: string, labelWidth: number, columns: number | null): string[] {
  const lines = text.split('\n');
  if (columns === null) return lines;
  const width = columns - indent.length;
  return lines.flatMap((line, index) =>
    wrapped(line, width, index === 0 ? Math.max(narrowestFirst, columns - labelWidth) : width),
  );
}
