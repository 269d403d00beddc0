import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isSameProcessAlive, type ProcessIdentity, readProcessStat } from './process-identity.js';

/**
 * Sends a signal to the process group that `leader` leads (spawned with `detached: true`, so its pid is the group's
 * id). The group outlives its leader, so this also reaches the children that a dead leader left behind, as long as the
 * pid has not been given to somebody else.
 *
 * @returns whether anything received it.
 */
export function killProcessGroup(leader: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (isPidReused(leader)) return false;
  try {
    process.kill(-leader.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Whether any process that still runs belongs to the group led by `leader`; zombies do not count. */
export function isProcessGroupAlive(leader: ProcessIdentity): boolean {
  if (isSameProcessAlive(leader)) return true;
  if (isPidReused(leader)) return false;
  return runningGroups().has(leader.pid);
}

/** Waits until the whole group is gone, at most `timeoutMs`. Answers whether it is. */
export async function waitForGroupExit(leader: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while (isProcessGroupAlive(leader)) {
    if (Date.now() >= deadline) return false;
    await sleep(25);
  }
  return true;
}

/**
 * Ends a group: `signal`, a wait of at most `graceMs`, then SIGKILL and a wait of at most one second.
 *
 * @returns `gone` (was dead already), `ended` (by the first signal), `killed`, or `alive` (still there: a process in
 * uninterruptible sleep, or one that is not ours to signal).
 */
export async function endProcessGroup(
  leader: ProcessIdentity,
  options: { signal: NodeJS.Signals; graceMs: number },
): Promise<'gone' | 'ended' | 'killed' | 'alive'> {
  if (!isProcessGroupAlive(leader)) return 'gone';
  killProcessGroup(leader, options.signal);
  if (await waitForGroupExit(leader, options.graceMs)) return 'ended';
  killProcessGroup(leader, 'SIGKILL');
  return (await waitForGroupExit(leader, 1_000)) ? 'killed' : 'alive';
}

/** A living process with the same pid but another start time. A group's id is not reused while the group has members,
 * so a reused pid also means that the old group is empty. */
function isPidReused(leader: ProcessIdentity): boolean {
  const stat = readProcessStat(leader.pid);
  return stat !== undefined && stat.startTime !== leader.startTime;
}

function runningGroups(): Set<number> {
  const groups = new Set<number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readProcessStat(Number(name));
    if (stat !== undefined && stat.state !== 'Z' && stat.state !== 'X') groups.add(stat.processGroup);
  }
  return groups;
}
