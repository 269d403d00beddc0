import { readdirSync } from 'node:fs';
import { type ProcessIdentity, readProcessIdentity, readProcessStat } from './process-identity.js';

/** The leaders of all process groups that have a member below this process, leaders that are dead left out. */
export function descendantGroups(rootPid: number): ProcessIdentity[] {
  const groups = new Set<number>();
  const rootGroup = readProcessStat(rootPid)?.processGroup;
  const processes = allProcesses();
  const visit = (pid: number) => {
    for (const child of processes.filter((candidate) => candidate.parent === pid)) {
      if (child.processGroup !== rootGroup) groups.add(child.processGroup);
      visit(child.pid);
    }
  };
  visit(rootPid);
  return [...groups].map(readProcessIdentity).filter((identity) => identity !== undefined);
}

function allProcesses(): { pid: number; parent: number; processGroup: number }[] {
  return readdirSync('/proc').flatMap((name) => {
    const stat = /^\d+$/.test(name) ? readProcessStat(Number(name)) : undefined;
    return stat === undefined
      ? []
      : [{ pid: Number(name), parent: stat.parent, processGroup: stat.processGroup }];
  });
}
