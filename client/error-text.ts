import { ApiError } from './api-errors.js';

const deepestCause = 5;
const mostErrors = 5;
const longestText = 2_000;

/** An error for a structured log line. `message` is never empty; `cause` is the chain of causes, outermost first. */
export type ErrorLine = {
  readonly type: string;
  readonly message: string;
  readonly cause: string | undefined;
};

/** Name, message and causes of anything that was thrown, each in one line without stack and without credentials. */
export function errorLine(error: unknown): ErrorLine {
  const causes = causesOf(error);
  return {
    type: typeOf(error),
    message: oneLine(messageOf(error)),
    cause: causes.length === 0 ? undefined : oneLine(causes.join(', caused by ')),
  };
}

/** The same as one text: `TypeError: fetch failed, caused by Error: connect ECONNREFUSED 127.0.0.1:1 (ECONNREFUSED)`. */
export function errorText(error: unknown): string {
  return oneLine([described(error), ...causesOf(error)].join(', caused by '));
}

function described(error: unknown): string {
  return `${typeOf(error)}: ${messageOf(error)}`;
}

function typeOf(error: unknown): string {
  if (error instanceof Error) return textOf(error, 'name') ?? 'Error';
  return error === null ? 'thrown null' : `thrown ${typeof error}`;
}

function messageOf(error: unknown): string {
  if (error instanceof ApiError) return `HTTP ${error.status} ${error.failureKind}: ${error.message}`;
  if (error instanceof Error) {
    const message = textOf(error, 'message') ?? '';
    const code = textOf(error, 'code');
    const own = message === '' ? (code ?? '(no message)') : message;
    const withCode = code === undefined || own.includes(code) ? own : `${own} (${code})`;
    return error instanceof AggregateError ? `${withCode} [${insideOf(error)}]` : withCode;
  }
  if (typeof error === 'string') return error === '' ? '(empty text)' : error;
  if (typeof error === 'object' && error !== null) return textOf(error, 'message') ?? '(no message)';
  return String(error);
}

/** Errors of several addresses or tries that hide in one. */
function insideOf(error: AggregateError): string {
  const errors: unknown[] = error.errors;
  const shown = errors
    .slice(0, mostErrors)
    .map((inner) => (inner === error ? '(circular)' : described(inner)));
  const more = errors.length - shown.length;
  return [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}

function causesOf(error: unknown): string[] {
  const seen = new Set<unknown>([error]);
  const causes: string[] = [];
  for (let cause = causeOf(error); cause !== undefined; cause = causeOf(cause)) {
    if (seen.has(cause)) return [...causes, '(circular)'];
    if (causes.length === deepestCause) return [...causes, '…'];
    seen.add(cause);
    causes.push(described(cause));
  }
  return causes;
}

function causeOf(error: unknown): unknown {
  return error instanceof Error ? (error.cause ?? undefined) : undefined;
}

/** A field of an error that somebody else made: it may be missing, of another type, or throw. */
function textOf(error: object, field: string): string | undefined {
  try {
    const value: unknown = Reflect.get(error, field);
    return typeof value === 'string' && value !== '' ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Credentials that errors carry in addresses and headers. */
const secretShapes: readonly (readonly [RegExp, string])[] = [
  [/(\b[a-z][a-z0-9+.-]{1,20}:\/\/)[^\s/@]{1,500}@/gi, '$1[redacted]@'],
  [/(\bhttps?:\/\/[^\s?"']{1,2000}\?)[^\s"')]+/gi, '$1[redacted]'],
  [/\b(Bearer\s+)[A-Za-z0-9._~+/-]{8,}=*/gi, '$1[redacted]'],
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}/g, '[redacted]'],
  [/\b(?:sk-|agr_|gh[pousr]_|github_pat_)[A-Za-z0-9_-]{16,}/g, '[redacted]'],
];

function oneLine(text: string): string {
  const short = text.replace(/\s+/g, ' ').trim().slice(0, longestText);
  return secretShapes.reduce((line, [shape, instead]) => line.replace(shape, instead), short);
}
