import { storableText } from '../../contract/text.js';
import { isInvisible } from '../../infra/telemetry/hidden-characters.js';
import { type Redactor, textBoundary, withoutFound } from '../../infra/telemetry/redaction.js';

/**
 * What is certain of a text that is still being written, redacted: whatever follows, the redacted whole begins with it. Cut behind white space or a
 * character beyond ASCII, so far back that no known secret which holds such characters itself can have begun before it and go on at the end (`overlap`),
 * and not within what was found. What Postgres cannot hold becomes U+FFFD, as in the log. Pure, apart from what the redactor knows.
 */
export function settledText(raw: string, redactor: Redactor): string {
  const found = redactor.find(raw);
  let end = cutBefore(raw, raw.length);
  for (let over = redactor.overlap; over > 0; over -= 1) end = cutBefore(raw, end - 1);
  for (const { from, to } of found.toReversed()) if (from < end && end < to) end = cutBefore(raw, from);
  const certain = found.filter(({ to }) => to <= end);
  return storableText(withoutFound(raw.slice(0, end), certain));
}

/** The last place up to `index` where a text may be cut; 0 when there is none. */
function cutBefore(raw: string, index: number): number {
  let end = index;
  while (end > 0 && !isCut(raw, end)) end -= 1;
  return Math.max(0, end);
}

/** Behind half a surrogate pair is no cut: the other half may follow. Neither is it behind a character that shows nothing: a secret may go on. */
function isCut(raw: string, end: number): boolean {
  const last = raw[end - 1] ?? '';
  if (!textBoundary.test(last) || /[\ud800-\udbff]/.test(last)) return false;
  return !isInvisible(/[\udc00-\udfff]/.test(last) ? raw.slice(Math.max(0, end - 2), end) : last);
}
