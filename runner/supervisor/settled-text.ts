import { type Redactor, textBoundary } from '../../infra/telemetry/redaction.js';

/** Places that are tried; more are needed only where a known secret holds as many words. */
const maxTries = 50;
const unstorable = /\0|\p{Surrogate}/gu;

/**
 * What is certain of a text that is still being written, redacted: whatever follows, the redacted whole begins with it. Cut behind white space or a
 * character beyond ASCII, where no secret goes on that is not known to hold one; of one that does, the place is further back (`overlap`).
 * What Postgres cannot hold becomes U+FFFD, as in the log. Pure, apart from what the redactor knows.
 */
export function settledText(raw: string, redactor: Redactor): string {
  const whole = redactor.text(raw);
  let end = raw.length - redactor.overlap;
  for (let tries = 0; tries < maxTries; tries += 1) {
    while (end > 0 && !isCut(raw[end - 1] ?? '')) end -= 1;
    if (end <= 0) return '';
    const text = redactor.text(raw.slice(0, end));
    if (whole.startsWith(text)) return text.replace(unstorable, '\u{fffd}');
    end -= 1;
  }
  return '';
}

/** Behind half a surrogate pair is no cut: the other half may follow. */
const isCut = (character: string) => textBoundary.test(character) && !/[\ud800-\udbff]/.test(character);
