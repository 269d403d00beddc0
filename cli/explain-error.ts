import { z } from 'zod';
import { ApiError, ConnectionError } from '../client/index.js';
import { ConfigurationError } from '../infra/config/read-env.js';
import { type ExitCode, exitCodes } from './exit-codes.js';

/** The command line is wrong in a way that only its meaning shows. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** The local stack cannot serve yet; the same command works later. */
export class StackNotReadyError extends Error {
  override readonly name = 'StackNotReadyError';
}

/** What a command knows about its request that makes an error of the API clearer. */
export interface ErrorContext {
  /** How the command line names a field of the request: `whenBusy` is `--when-busy`. */
  readonly optionNames?: Readonly<Record<string, string>>;
  /** The session that the command needs; when it is missing, it is said how one is created. */
  readonly sessionToCreate?: string;
  /** Why the API may be out of reach; asked only then. */
  readonly connectionHint?: () => string;
}

/** An error for `--json`: `status` is the HTTP status, null when none came. */
export interface ErrorReport {
  readonly failureKind: string;
  readonly status: number | null;
  readonly message: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

const fieldIssuesSchema = z.object({
  issues: z.array(z.object({ path: z.string(), expected: z.string(), received: z.string() })).min(1),
});

/** The text for a person, the report for a program and the exit code of an error. */
export function explainError(
  error: unknown,
  context: ErrorContext = {},
): { text: string; report: ErrorReport; code: ExitCode } {
  if (error instanceof ApiError) return explainApiError(error, context);
  const without = (failureKind: string, message: string, code: ExitCode) => ({
    text: message,
    report: { failureKind, status: null, message },
    code,
  });
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof ConfigurationError) return without('configuration-invalid', message, exitCodes.usage);
  if (error instanceof UsageError) return without('usage-invalid', message, exitCodes.usage);
  if (error instanceof StackNotReadyError) return without('stack-not-ready', message, exitCodes.unavailable);
  if (error instanceof ConnectionError) {
    const unreachable = error.reason === 'network' || error.reason === 'timeout';
    const hint = unreachable ? context.connectionHint?.() : undefined;
    const explained = hint === undefined ? message : `${message}; ${hint}`;
    return without(`connection-${error.reason}`, explained, exitCodes.unavailable);
  }
  return without('unexpected', message, exitCodes.failed);
}

function explainApiError(error: ApiError, context: ErrorContext) {
  const { failureKind, status, message, details } = error;
  return {
    text: `${failureKind}: ${missingSession(error, context) ?? withOptionNames(error, context.optionNames ?? {})}`,
    report: { failureKind, status, message, ...(details === undefined ? {} : { details }) },
    code: exitCodeOf(status),
  };
}

/** The cure in words of the command line, instead of the API's, which names fields of its body. */
function missingSession({ failureKind, message }: ApiError, { sessionToCreate: sessionId }: ErrorContext) {
  if (failureKind !== 'not-found' || sessionId === undefined) return undefined;
  const missing = `session ${sessionId} does not exist`;
  if (!message.startsWith(missing)) return undefined;
  return `${missing}\ncreate it: agentrun session create --id ${sessionId}`;
}

function exitCodeOf(status: number): ExitCode {
  if (status === 400) return exitCodes.usage;
  return status >= 500 || status === 429 ? exitCodes.unavailable : exitCodes.refused;
}

function withOptionNames(error: ApiError, names: Readonly<Record<string, string>>): string {
  const parsed = fieldIssuesSchema.safeParse(error.details).data;
  if (error.status !== 400 || parsed === undefined) return error.message;
  return parsed.issues
    .filter(({ path }, index, all) => all.findIndex((other) => other.path === path) === index)
    .map(({ path, expected, received }) => {
      // One of a list is named by the option that gave it.
      const name = [path, path.replace(/\.\d+$/, '')]
        .map((field) => (Object.hasOwn(names, field) ? names[field] : undefined))
        .find((option) => option !== undefined);
      const sentence = expected === 'nothing' ? 'no such field' : `expected ${expected}`;
      return name === undefined ? `${path}: ${sentence} (received ${received})` : `${name}: ${sentence}`;
    })
    .join('; ');
}
