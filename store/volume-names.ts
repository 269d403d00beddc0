import { createHash } from 'node:crypto';

const longestWord = 28;
const hashDigits = 24;

/**
 * Name of the volume claim of a session, the same each time: `session-<word>-<hash>`. Session ids may have capitals, dots and up to 128 characters, names
 * in a cluster that are labels too may not: the word lets people find it, the hash keeps ids apart. At most 63 characters.
 */
export function volumeClaimName(sessionId: string): string {
  const word = sessionId
    .replace(/^sess_/, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replace(/^-/, '')
    .slice(0, longestWord)
    .replace(/-$/, '');
  const hash = createHash('sha256').update(sessionId).digest('hex').slice(0, hashDigits);
  return `session-${word}-${hash}`;
}
