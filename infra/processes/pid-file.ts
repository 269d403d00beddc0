import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { z } from 'zod';
import { type ProcessIdentity, processIdentitySchema } from './process-identity.js';

/** Writes `{pid, startTime, …details}` for the owner's eyes only (0600), whole or not at all. */
export function writePidFile(
  path: string,
  identity: ProcessIdentity,
  details: Readonly<Record<string, unknown>> = {},
) {
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  const content = { ...details, pid: identity.pid, startTime: identity.startTime };
  try {
    writeFileSync(temporary, `${JSON.stringify(content)}\n`, { mode: 0o600, flag: 'wx' });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** The process that a pid file names, alive or not; undefined when the file is absent or holds something else. */
export function readPidFile(path: string): ProcessIdentity | undefined {
  return readPidFileAs(path, processIdentitySchema);
}

/** As {@link readPidFile}, with the details that its writer added. */
export function readPidFileAs<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
): z.output<Schema> | undefined {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
  return schema.safeParse(content).data;
}

/** Removes a pid file; an absent one is fine. */
export function removePidFile(path: string): void {
  rmSync(path, { force: true });
}
