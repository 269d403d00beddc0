import { randomBytes } from 'node:crypto';
import { renameSync, writeFileSync } from 'node:fs';
import { z } from 'zod';
import { readPidFileAs } from './pid-file.js';

const longestMessage = 2_000;
const exitReasonSchema = z.object({ exitCode: z.number().int(), message: z.string().max(longestMessage) });

/** Why a runner could not begin, written by itself for whoever started it. Holds no secret. */
export type ExitReason = z.infer<typeof exitReasonSchema>;

/** Writes the reason for the owner's eyes only (0600), whole or not at all. */
export function writeExitReason(path: string, reason: ExitReason): void {
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  const content = { ...reason, message: reason.message.slice(0, longestMessage) };
  writeFileSync(temporary, `${JSON.stringify(content)}\n`, { mode: 0o600, flag: 'wx' });
  renameSync(temporary, path);
}

/** The reason that a runner left; undefined when it left none that can be read. */
export function readExitReason(path: string): ExitReason | undefined {
  return readPidFileAs(path, exitReasonSchema);
}
