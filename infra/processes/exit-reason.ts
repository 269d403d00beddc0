import { randomBytes } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { readPidFileAs } from './pid-file.js';

const longestMessage = 2_000;
/** Kubernetes cuts a termination message there. */
const longestTerminationMessageBytes = 4_096;
const exitReasonSchema = z.object({ exitCode: z.number().int(), message: z.string().max(longestMessage) });

/** Why a runner could not begin, written by itself for whoever started it. Holds no secret. */
export type ExitReason = z.infer<typeof exitReasonSchema>;

/**
 * Writes the reason for the owner's eyes only (0600), whole or not at all. A file that is there already is the termination log that the kubelet has made
 * for a container: it is written in place, as nothing else can be made beside it, and holds the message alone, which `kubectl describe pod` shows.
 */
export function writeExitReason(path: string, reason: ExitReason): void {
  const content = { ...reason, message: reason.message.slice(0, longestMessage) };
  if (writeTerminationLog(path, content.message)) return;
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  writeFileSync(temporary, `${JSON.stringify(content)}\n`, { mode: 0o600, flag: 'wx' });
  renameSync(temporary, path);
}

/** The reason that a runner left; undefined when it left none that can be read. */
export function readExitReason(path: string): ExitReason | undefined {
  return readPidFileAs(path, exitReasonSchema);
}

/** False when there is no such file. */
function writeTerminationLog(path: string, message: string): boolean {
  let file: number;
  try {
    file = openSync(path, constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_TRUNC);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
  try {
    if (!fstatSync(file).isFile()) throw new Error(`${path} is no regular file`);
    writeFileSync(file, wholeCharacters(Buffer.from(message), longestTerminationMessageBytes));
    return true;
  } finally {
    closeSync(file);
  }
}

/** At most so many bytes of a text in UTF-8, none of its characters cut. */
function wholeCharacters(text: Buffer, mostBytes: number): Buffer {
  let end = Math.min(text.length, mostBytes);
  // Bytes 10xxxxxx continue a character.
  while (end < text.length && ((text[end] ?? 0) & 0b1100_0000) === 0b1000_0000) end -= 1;
  return text.subarray(0, end);
}
