import { readPidFile, removePidFile } from '../../infra/processes/pid-file.js';
import { endProcessGroup } from '../../infra/processes/process-group.js';
import { isSameProcessAlive, type ProcessIdentity } from '../../infra/processes/process-identity.js';
import { type ChildName, childNames, childPidFile, type StackPaths } from './stack-paths.js';

/** What is left of the children of an `up` that was killed. */
export interface Leftover {
  readonly name: ChildName;
  readonly identity: ProcessIdentity;
}

/** Which of the recorded processes still run, in the order in which they are to be stopped: the users of a service
 * before the service. A pid that now belongs to another program is none of ours. */
export function livingLeftovers(
  recorded: ReadonlyMap<ChildName, ProcessIdentity>,
  isAlive: (identity: ProcessIdentity) => boolean,
): Leftover[] {
  const living: Leftover[] = [];
  for (const name of childNames) {
    const identity = recorded.get(name);
    if (identity !== undefined && isAlive(identity)) living.push({ name, identity });
  }
  return living;
}

/**
 * Stops what a killed `up` left behind, and forgets its pid files. The runners are not its children and live on.
 *
 * @throws Error when one of them cannot be ended.
 */
export async function stopLeftovers(paths: StackPaths, log: (line: string) => void): Promise<void> {
  for (const { name, identity } of livingLeftovers(recordedChildren(paths), isSameProcessAlive)) {
    log(`stopping ${name} (pid ${identity.pid}), left behind by an earlier start that was killed`);
    const signal = name === 'postgres' ? 'SIGINT' : 'SIGTERM';
    const end = await endProcessGroup(identity, { signal, graceMs: 5_000 });
    if (end === 'alive') throw new Error(`${name} (pid ${identity.pid}) of an earlier start cannot be ended`);
  }
  for (const name of childNames) removePidFile(childPidFile(paths, name));
}

function recordedChildren(paths: StackPaths): Map<ChildName, ProcessIdentity> {
  const recorded = new Map<ChildName, ProcessIdentity>();
  for (const name of childNames) {
    const identity = readPidFile(childPidFile(paths, name));
    if (identity !== undefined) recorded.set(name, identity);
  }
  return recorded;
}
