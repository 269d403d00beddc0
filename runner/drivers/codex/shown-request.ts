import { createHash, randomBytes } from 'node:crypto';
import type { AgentRequest } from '../../../contract/agent-requests.js';
import type { JsonValue } from '../../../contract/json.js';

/** The contract's limits (contract/agent-requests.ts). */
const limits = { summary: 2_000, command: 20_000, cwd: 4_096, reason: 4_000, questions: 20, details: 40_000 };
/** Of `details`, what is granted may take so much; the texts of patches have the rest. */
const maxFactCharacters = 12_000;
const maxPatchCharacters = 8_000;
/** For the words of a cut. */
const cutMargin = 40;

/** A file that a patch would change, as the item of the patch announced it. */
export interface AnnouncedChange {
  readonly path: string;
  readonly kind: string;
  readonly movedTo: string | null;
  readonly diff: string | null;
}

export interface RequestFields extends Pick<AgentRequest, 'kind' | 'itemId' | 'summary'> {
  readonly command?: string | null;
  readonly cwd?: string | null;
  readonly reason?: string | null;
  readonly questions?: AgentRequest['questions'];
  /** What would be granted besides, one fact per line; shown whole or not asked. */
  readonly facts?: readonly string[];
  readonly changes?: readonly AnnouncedChange[];
  /** What the fingerprint covers besides command and folder; null when it is not known what exactly is asked for. */
  readonly subject: JsonValue;
}

/** A request as a person sees it. */
export interface ShownRequest {
  /** Without the id, which the driver gives. */
  readonly request: Omit<AgentRequest, 'requestId'>;
  /** Why nobody can be asked: a part of what would be granted has no room. */
  readonly unshowable: string | null;
}

/**
 * Makes a request of the contract. Texts are cut to its limits in so many words. What would be granted (command, folder, facts, files) is shown whole,
 * or the request cannot be asked; the agent's reasons and the texts of patches may be cut. The fingerprint of a request whose subject is not
 * known is random: an answer to it is an answer to nothing else.
 */
export function shownRequest(fields: RequestFields): ShownRequest {
  const {
    kind,
    itemId,
    summary,
    command = null,
    cwd = null,
    reason = null,
    questions = [],
    subject,
  } = fields;
  const { facts = [], changes = [] } = fields;
  const whole = [...facts, ...changes.map(changeTitle)].join('\n');
  const tooLong = [
    overlong('the command', command?.length, limits.command, 'characters'),
    overlong('the folder', cwd?.length, limits.cwd, 'characters'),
    overlong('what it asks for', whole.length, maxFactCharacters, 'characters'),
    overlong('the form', questions.length, limits.questions, 'questions'),
  ].filter((reasonWhy) => reasonWhy !== null);
  const request = {
    kind,
    itemId,
    summary: shortened([summary, ...facts].join('; '), limits.summary),
    command: command === null ? null : shortened(command, limits.command),
    cwd: cwd === null ? null : shortened(cwd, limits.cwd),
    reason: reason === null ? null : shortened(reason, limits.reason),
    questions: questions.slice(0, limits.questions),
    details: detailsText(facts, changes),
    fingerprint:
      subject === null
        ? randomBytes(32).toString('hex')
        : createHash('sha256')
            .update(JSON.stringify([kind, command, cwd, subject]))
            .digest('hex'),
  };
  return {
    request,
    unshowable:
      tooLong.length === 0
        ? null
        : `it is too long to be shown whole, and nobody is asked to approve what cannot be seen: ${tooLong.join(', ')}`,
  };
}

/** The beginning of a text with the number of characters left off; never half a character. Pure. */
export function shortened(text: string, maxCharacters: number): string {
  if (text.length <= maxCharacters) return text;
  let end = Math.max(0, maxCharacters - cutMargin);
  if (/[\ud800-\udbff]/.test(text.charAt(end - 1))) end -= 1;
  return `${text.slice(0, end)}… ${text.length - end} characters more`;
}

/** What a patch does to a file, in a few words. */
export function changeTitle({ kind, path, movedTo }: AnnouncedChange): string {
  return movedTo === null ? `${kind} ${path}` : `${kind} ${path} and move it to ${movedTo}`;
}

function detailsText(facts: readonly string[], changes: readonly AnnouncedChange[]): string | null {
  if (facts.length === 0 && changes.length === 0) return null;
  const titles = [...facts, ...changes.map(changeTitle)].join('\n').length;
  let left = limits.details - titles - 2 * cutMargin * (changes.length + 1);
  const lines = [...facts];
  for (const change of changes) {
    lines.push(changeTitle(change));
    const diff = change.diff ?? '(its text is not known)';
    const shown = shortened(diff, Math.max(cutMargin, Math.min(maxPatchCharacters, left)));
    left -= shown.length;
    lines.push(shown);
  }
  return shortened(lines.join('\n'), limits.details);
}

function overlong(what: string, size: number | undefined, limit: number, unit: string): string | null {
  return size !== undefined && size > limit ? `${what} has ${size} ${unit}, the limit is ${limit}` : null;
}
