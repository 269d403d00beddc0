import type { JsonValue } from '../../contract/json.js';
import { isSameSecret } from '../config/same-secret.js';
import { type SecretPattern, secretPattern, shortestSecretLength } from './secret-patterns.js';

/** What stands in the place of a secret. */
export const redacted = '[redacted]';

/**
 * Shapes of credentials that may come from outside, for example in the body of a provider's error (agents.md 2.1). The text may be an agent's: each
 * shape takes time in proportion to its length, also where it nearly matches again and again.
 */
const secretShapes: readonly RegExp[] = [
  /\bsk-[A-Za-z0-9_-]{16,}/g,
  /\bgh[pousr]_[A-Za-z0-9]{20,}/g,
  /\bgithub_pat_[A-Za-z0-9_]{20,}/g,
  /\b(Bearer\s+)[A-Za-z0-9._~+/-]{16,}=*/gi,
];
/** No shape matches less: `sk-` and 16 characters. */
const shortestShape = 19;
/** Everything that a JSON Web Token could stand in: found whole, so that no part of it is looked through twice. */
const dottedRun = /[A-Za-z0-9_.-]{29,}/g;
const tokenHeader = /\beyJ[A-Za-z0-9_-]{8,}$/;
const shortestTokenPart = 8;

/** White space, and everything beyond ASCII: no shape of a credential reaches over it, and few known secrets do. */
export const textBoundary = /[\s\u0080-\uffff]/;
/** What one UTF-16 unit of a secret becomes at most: three bytes as `%252525..`. */
const longestEscape = 27;

/**
 * Removes known secret values, and what looks like a credential, from text and JSON. A known value is found raw, base64, hex, URL- and
 * JSON-escaped, and in telling pieces (`secretPattern`).
 */
export interface Redactor {
  /** Makes a value known as a secret. Empty and very short values are ignored. */
  add(secret: string | undefined): void;
  /** As `add`, for a secret that is renewed: of each `name` the current and the former value are known. */
  rotate(name: string, secret: string): void;
  text(text: string): string;
  /**
   * How far a known secret may reach over white space or a character beyond ASCII, in characters of a text; 0 while none holds such a character. All else
   * that is removed lies between two of them.
   */
  readonly overlap: number;
  /** A copy with every string (keys too) redacted. */
  json(value: JsonValue): JsonValue;
}

/** A redactor that knows `secrets`; more can be added while it is in use, such as a refreshed token. */
export function createRedactor(secrets: readonly (string | undefined)[] = []): Redactor {
  const known = new Map<string, SecretPattern>();

  let overlap = 0;
  const measure = (secret: string): void => {
    if (textBoundary.test(secret)) overlap = Math.max(overlap, secret.length * longestEscape);
  };

  const add = (secret: string | undefined): void => {
    const value = secret?.trim() ?? '';
    if (value.length < shortestSecretLength || known.has(value)) return;
    known.set(value, secretPattern(value));
    measure(value);
  };

  const rotating = new Map<string, readonly { secret: string; pattern: SecretPattern }[]>();
  const rotate = (name: string, secret: string): void => {
    const [current] = rotating.get(name) ?? [];
    if (
      secret.length < shortestSecretLength ||
      (current !== undefined && isSameSecret(current.secret, secret))
    )
      return;
    const renewed = { secret, pattern: secretPattern(secret) };
    measure(secret);
    rotating.set(name, current === undefined ? [renewed] : [renewed, current]);
  };

  const text = (input: string): string => {
    let output = input;
    for (const pattern of known.values()) output = pattern.replace(output, redacted);
    for (const kept of rotating.values())
      for (const { pattern } of kept) output = pattern.replace(output, redacted);
    if (output.includes('eyJ')) output = output.replace(dottedRun, withoutWebTokens);
    if (output.length < shortestShape) return output;
    for (const shape of secretShapes) {
      output = output.replace(shape, (_match, prefix: unknown) =>
        typeof prefix === 'string' ? `${prefix}${redacted}` : redacted,
      );
    }
    return output;
  };

  const json = (value: JsonValue): JsonValue => {
    if (typeof value === 'string') return text(value);
    if (Array.isArray(value)) return value.map(json);
    if (value !== null && typeof value === 'object') {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [text(key), json(inner)]));
    }
    return value;
  };

  for (const secret of secrets) add(secret);
  return {
    add,
    rotate,
    text,
    json,
    get overlap() {
      return overlap;
    },
  };
}

/** Blanks each `eyJ….….…` in a run of letters, digits, `_`, `-` and dots. */
function withoutWebTokens(run: string): string {
  if (!run.includes('eyJ')) return run;
  const parts = run.split('.');
  const kept: string[] = [];
  for (let at = 0; at < parts.length; at += 1) {
    const part = parts[at] ?? '';
    const header = part.search(tokenHeader);
    const isToken =
      header >= 0 && [1, 2].every((next) => (parts[at + next]?.length ?? 0) >= shortestTokenPart);
    kept.push(isToken ? `${part.slice(0, header)}${redacted}` : part);
    if (isToken) at += 2;
  }
  return kept.join('.');
}
