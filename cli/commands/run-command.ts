import type { Command } from 'commander';
import { explainError } from '../exit-codes.js';

/** Runs a command's work and sets the exit code; an error is one line on stderr (an object on stdout with --json). */
export type Run = (command: Command, work: () => Promise<number>) => Promise<void>;

export const runCommand: Run = async (command, work) => {
  try {
    process.exitCode = await work();
  } catch (error) {
    const { line, code } = explainError(error);
    if (command.optsWithGlobals().json === true) process.stdout.write(`${JSON.stringify({ error: line })}\n`);
    else process.stderr.write(`${line}\n`);
    process.exitCode = code;
  }
};
