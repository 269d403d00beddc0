import { readFileSync } from 'node:fs';
import { z } from 'zod';

/**
 * A process beyond doubt: the kernel reuses a pid, but never a pid together with its start time. `startTime` is field
 * 22 of /proc/<pid>/stat, in clock ticks since boot.
 */
export const processIdentitySchema = z.object({
  pid: z.number().int().positive(),
  startTime: z.number().int().nonnegative(),
});

export type ProcessIdentity = z.infer<typeof processIdentitySchema>;

export interface ProcessStat {
  /** One letter: R running, S sleeping, D waiting for a disk, Z zombie, X dead, … */
  readonly state: string;
  readonly parent: number;
  /** Id of its process group: the pid of the group's first leader. */
  readonly processGroup: number;
  readonly startTime: number;
}

/** The identity of a process that exists now, a zombie included; undefined when there is none with this pid. */
export function readProcessIdentity(pid: number): ProcessIdentity | undefined {
  const stat = readProcessStat(pid);
  return stat === undefined ? undefined : { pid, startTime: stat.startTime };
}

/** Whether exactly this process still runs. A zombie counts as dead: it waits only for its parent to look. */
export function isSameProcessAlive(identity: ProcessIdentity): boolean {
  const stat = readProcessStat(identity.pid);
  if (stat === undefined) return false;
  return stat.startTime === identity.startTime && stat.state !== 'Z' && stat.state !== 'X';
}

/** What the kernel's line about a process says; undefined when the text is not such a line. Exported for its test. */
export function parseProcessStat(text: string): ProcessStat | undefined {
  // The second field is the program's name in parentheses and may itself hold blanks and parentheses, so the fields
  // are counted from the last one.
  const afterName = text.lastIndexOf(')');
  if (afterName < 0) return undefined;
  const fields = text
    .slice(afterName + 1)
    .trim()
    .split(/\s+/);
  const [state, parent, processGroup] = fields;
  const startTime = Number(fields[19]);
  if (state === undefined || !Number.isSafeInteger(startTime)) return undefined;
  return { state, parent: Number(parent), processGroup: Number(processGroup), startTime };
}

/** State, process group and start time of a process that exists now, a zombie included. */
export function readProcessStat(pid: number): ProcessStat | undefined {
  try {
    return parseProcessStat(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return undefined;
  }
}
