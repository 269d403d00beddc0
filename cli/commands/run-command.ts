import type { Command } from 'commander';
import { connectionHint } from '../api-access.js';
import { type ErrorContext, explainError } from '../explain-error.js';
import { ReaderGone } from '../output.js';
import { escapeText, jsonLine } from '../terminal-text.js';

/**
 * Runs a command's work and sets the exit code. An error is a line or two on stderr; with --json it is
 * `{"error": {failureKind, status, message, details?}}` on stdout. A reader of the output that has gone away is no error.
 */
export type Run = (command: Command, work: () => Promise<number>, context?: ErrorContext) => Promise<void>;

export const runCommand: Run = async (command, work, context) => {
  try {
    process.exitCode = await work();
  } catch (error) {
    // Such as `watch | head`.
    if (error instanceof ReaderGone) return;
    const { text, report, code } = explainError(error, { connectionHint, ...context });
    if (command.optsWithGlobals().json === true) {
      process.stdout.write(`${jsonLine({ error: report })}\n`);
    } else process.stderr.write(`${escapeText(text)}\n`);
    process.exitCode = code;
  }
};
