import { readdirSync, readFileSync } from 'node:fs';
import {
  isSameProcessAlive,
  type ProcessIdentity,
  readProcessIdentity,
} from '../../infra/processes/process-identity.js';

/**
 * The living descendants of a process, found by parent pid. An agent may start its commands in sessions of their own,
 * which a signal to the agent's process group does not reach; taken before the agent is killed, because afterwards its
 * children belong to init.
 */
export function descendantsOf(pid: number): ProcessIdentity[] {
  const children = childrenByParent();
  const found: ProcessIdentity[] = [];
  const open = [pid];
  const seen = new Set(open);
  for (let parent = open.pop(); parent !== undefined; parent = open.pop()) {
    for (const child of children.get(parent) ?? []) {
      if (seen.has(child)) continue;
      seen.add(child);
      open.push(child);
      const identity = readProcessIdentity(child);
      if (identity !== undefined) found.push(identity);
    }
  }
  return found;
}

/** Kills each of these processes that is still the same one. */
export function killProcesses(identities: readonly ProcessIdentity[]): void {
  for (const identity of identities) {
    if (!isSameProcessAlive(identity)) continue;
    try {
      process.kill(identity.pid, 'SIGKILL');
    } catch {
      // Gone between the look and the signal.
    }
  }
}

function childrenByParent(): Map<number, number[]> {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const parent = parentOf(name);
    if (parent === undefined) continue;
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [Number(name)]);
    else siblings.push(Number(name));
  }
  return children;
}

function parentOf(pid: string): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  const fields = stat
    .slice(stat.lastIndexOf(')') + 1)
    .trim()
    .split(/\s+/);
  const parent = Number(fields[1]);
  return Number.isSafeInteger(parent) ? parent : undefined;
}
