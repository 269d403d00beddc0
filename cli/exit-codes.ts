import { ApiError, ConnectionError } from '../client/index.js';
import { ConfigurationError } from '../infra/config/read-env.js';

/** Exit codes of the `agentrun` command, as its help says them. `up` has 3 for "already running" and 130 beside these. */
export const exitCodes = {
  ok: 0,
  /** The turn or task ended otherwise than completed, or something unforeseen happened. */
  failed: 1,
  /** Wrong arguments or configuration; also a request that the API calls invalid (400). */
  usage: 2,
  /** The API refused: not found, conflict, busy, not allowed. */
  refused: 4,
  /** The API cannot be reached or is not available now. */
  unavailable: 5,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** One line for a person and the exit code of an error. */
export function explainError(error: unknown): { line: string; code: ExitCode } {
  if (error instanceof ConfigurationError) return { line: error.message, code: exitCodes.usage };
  if (error instanceof ConnectionError) {
    return { line: `${error.message} (is \`agentrun up\` running?)`, code: exitCodes.unavailable };
  }
  if (error instanceof ApiError) {
    const line = `${error.failureKind}: ${error.message}`;
    if (error.status === 400) return { line, code: exitCodes.usage };
    return {
      line,
      code: error.status >= 500 || error.status === 429 ? exitCodes.unavailable : exitCodes.refused,
    };
  }
  return { line: error instanceof Error ? error.message : String(error), code: exitCodes.failed };
}
