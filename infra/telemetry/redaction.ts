import type { JsonValue } from '../../contract/json.js';
import { isSameSecret } from '../config/same-secret.js';
import { holdsHidden, readingsOf } from './hidden-characters.js';
import {
  lookAt,
  type Replacement,
  type SecretPattern,
  secretPattern,
  shortestSecretLength,
} from './secret-patterns.js';

/** What stands in the place of a secret. */
export const redacted = '[redacted]';

/**
 * Shapes of credentials that may come from outside, for example in the body of a provider's error (agents.md 2.1). The text may be an agent's: each
 * shape takes time in proportion to its length, also where it nearly matches again and again. A text without one of its signs is not looked through. All of
 * them hold a long word (`TextLook`).
 */
const secretShapes: readonly { readonly signs: readonly string[]; readonly shape: RegExp }[] = [
  { signs: ['sk-'], shape: /\bsk-[A-Za-z0-9_-]{16,}/g },
  { signs: ['ghp_', 'gho_', 'ghu_', 'ghs_', 'ghr_'], shape: /\bgh[pousr]_[A-Za-z0-9]{20,}/g },
  { signs: ['github_pat_'], shape: /\bgithub_pat_[A-Za-z0-9_]{20,}/g },
  { signs: [''], shape: /\b(Bearer\s+)[A-Za-z0-9._~+/-]{16,}=*/gi },
];
/** No shape matches less: `sk-` and 16 characters. */
const shortestShape = 19;
/** Everything that a JSON Web Token could stand in: found whole, so that no part of it is looked through twice. */
const dottedRun = /[A-Za-z0-9_.-]{29,}/g;
const tokenHeader = /\beyJ[A-Za-z0-9_-]{8,}$/;
const shortestTokenPart = 8;

/** White space, and everything beyond ASCII: what is replaced of a shape does not reach over it, and few known secrets do. */
export const textBoundary = /[\s\u0080-\uffff]/;
const boundaries = new RegExp(textBoundary, 'g');

/** A part of a text, from one index to before another, in UTF-16 units. */
export interface Found {
  readonly from: number;
  readonly to: number;
}

/**
 * Removes known secret values, and what looks like a credential, from text and JSON. A known value is found raw, base64, hex, URL- and
 * JSON-escaped, and in telling pieces (`secretPattern`); all of it also where characters that show nothing stand between its own.
 */
export interface Redactor {
  /** Makes a value known as a secret. Empty and very short values are ignored. */
  add(secret: string | undefined): void;
  /** As `add`, for a secret that is renewed: of each `name` the current and the former value are known. */
  rotate(name: string, secret: string): void;
  text(text: string): string;
  /** What `text` replaces, in order; nothing of it overlaps. */
  find(text: string): readonly Found[];
  /** Over how many white spaces and characters beyond ASCII a known secret may reach at most. All else that is removed lies between two of them. */
  readonly overlap: number;
  /** A value with every string (keys too) redacted: the value itself if there was nothing to redact, otherwise a copy. */
  json(value: JsonValue): JsonValue;
}

/** A redactor that knows `secrets`; more can be added while it is in use, such as a refreshed token. */
export function createRedactor(secrets: readonly (string | undefined)[] = []): Redactor {
  const known = new Map<string, readonly SecretPattern[]>();
  const rotating = new Map<string, readonly { secret: string; patterns: readonly SecretPattern[] }[]>();
  /** Of all that is known, in one list. */
  let all: readonly SecretPattern[] = [];
  const listAll = (): void => {
    const renewed = [...rotating.values()].flatMap((kept) => kept.flatMap(({ patterns }) => patterns));
    all = [...[...known.values()].flat(), ...renewed];
  };

  let overlap = 0;
  const patternsOf = (secret: string): SecretPattern[] => {
    overlap = Math.max(overlap, secret.match(boundaries)?.length ?? 0);
    const seen = holdsHidden(secret) ? readingsOf(secret).map((reading) => reading.text) : [];
    const values = new Set([secret, ...seen.filter(({ length }) => length >= shortestSecretLength)]);
    return [...values].map(secretPattern);
  };

  const add = (secret: string | undefined): void => {
    const value = secret?.trim() ?? '';
    if (value.length < shortestSecretLength || known.has(value)) return;
    known.set(value, patternsOf(value));
    listAll();
  };

  const rotate = (name: string, secret: string): void => {
    const [current] = rotating.get(name) ?? [];
    if (
      secret.length < shortestSecretLength ||
      (current !== undefined && isSameSecret(current.secret, secret))
    )
      return;
    const renewed = { secret, patterns: patternsOf(secret) };
    rotating.set(name, current === undefined ? [renewed] : [renewed, current]);
    listAll();
  };

  const replaced = (input: string, replacement: Replacement): string => {
    let output = input;
    const look = lookAt(input);
    for (const pattern of all) output = pattern.replace(output, replacement, look);
    if (!look.hasLongWord) return output;
    if (output.includes('eyJ'))
      output = output.replace(dottedRun, (run) => withoutWebTokens(run, replacement));
    if (output.length < shortestShape) return output;
    for (const { signs, shape } of secretShapes) {
      if (!signs.some((sign) => output.includes(sign))) continue;
      output = output.replace(shape, (match: string, prefix: unknown) =>
        typeof prefix === 'string'
          ? `${prefix}${replacement(match.slice(prefix.length))}`
          : replacement(match),
      );
    }
    return output;
  };

  const find = (input: string): readonly Found[] => {
    // The marks of what is found are none of the text's own characters.
    if (!holdsHidden(input)) return marked(replaced(input, mark));
    const found = readingsOf(input).flatMap(({ text: read, at }) =>
      marked(replaced(read, mark)).map(({ from, to }) => ({
        from: at[from] ?? 0,
        to: (at[to - 1] ?? 0) + 1,
      })),
    );
    return joined(found);
  };

  const text = (input: string): string =>
    holdsHidden(input) ? withoutFound(input, find(input)) : replaced(input, () => redacted);

  const isClean = (value: JsonValue): boolean => {
    if (typeof value === 'string') return text(value) === value;
    if (typeof value !== 'object' || value === null) return true;
    if (Array.isArray(value)) return value.every(isClean);
    for (const key in value) if (text(key) !== key || !isClean(value[key] ?? null)) return false;
    return true;
  };
  const copy = (value: JsonValue): JsonValue => {
    if (typeof value === 'string') return text(value);
    if (Array.isArray(value)) return value.map(copy);
    if (value !== null && typeof value === 'object')
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [text(key), copy(inner)]));
    return value;
  };
  // Nearly every value is clean: to look twice at the others costs less than to copy them all.
  const json = (value: JsonValue): JsonValue => (isClean(value) ? value : copy(value));

  for (const secret of secrets) add(secret);
  return {
    add,
    rotate,
    text,
    find,
    json,
    get overlap() {
      return overlap;
    },
  };
}

/** A text with `[redacted]` in the place of each part that was found. */
export function withoutFound(text: string, found: readonly Found[]): string {
  let output = '';
  let done = 0;
  for (const { from, to } of found) {
    output += text.slice(done, from) + redacted;
    done = to;
  }
  return output + text.slice(done);
}

/** As long as what it stands for, so that every index stays what it was. */
const mark: Replacement = (found) => `\x01${'\0'.repeat(found.length - 1)}`;

function marked(text: string): Found[] {
  const found: Found[] = [];
  for (let from = text.indexOf('\x01'); from !== -1; from = text.indexOf('\x01', from + 1)) {
    let to = from + 1;
    while (text[to] === '\0') to += 1;
    found.push({ from, to });
  }
  return found;
}

function joined(found: readonly Found[]): Found[] {
  const parts: Found[] = [];
  for (const part of found.toSorted((one, other) => one.from - other.from || other.to - one.to)) {
    const last = parts.at(-1);
    if (last === undefined || part.from >= last.to) parts.push(part);
    else parts[parts.length - 1] = { from: last.from, to: Math.max(last.to, part.to) };
  }
  return parts;
}

/** Replaces each `eyJ….….…` in a run of letters, digits, `_`, `-` and dots. */
function withoutWebTokens(run: string, replacement: Replacement): string {
  if (!run.includes('eyJ')) return run;
  const parts = run.split('.');
  const kept: string[] = [];
  for (let at = 0; at < parts.length; at += 1) {
    const part = parts[at] ?? '';
    const header = part.search(tokenHeader);
    const isToken =
      header >= 0 && [1, 2].every((next) => (parts[at + next]?.length ?? 0) >= shortestTokenPart);
    const token = isToken
      ? parts
          .slice(at, at + 3)
          .join('.')
          .slice(header)
      : '';
    kept.push(isToken ? `${part.slice(0, header)}${replacement(token)}` : part);
    if (isToken) at += 2;
  }
  return kept.join('.');
}
