import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = '/sys/fs/cgroup';

/** Makes the control group that the kubelet puts all pods below, in both versions: else two kubelets would remove each other's groups. */
export function makeControlGroup(name: string): void {
  for (const hierarchy of hierarchies()) {
    const group = join(hierarchy, name);
    mkdirSync(group, { recursive: true });
    // Version 1: a new group may use no processor until it is told which.
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const parent = join(hierarchy, file);
      if (existsSync(parent) && isVersion1()) writeFileSync(join(group, file), readFileSync(parent, 'utf8'));
    }
    if (!isVersion1()) delegateControllers(hierarchy);
  }
}

/** Version 2: a group has the controllers that its parent passes on. */
function delegateControllers(hierarchy: string): void {
  const controllers = readFileSync(join(hierarchy, 'cgroup.controllers'), 'utf8').trim().split(' ');
  writeFileSync(
    join(hierarchy, 'cgroup.subtree_control'),
    controllers.map((controller) => `+${controller}`).join(' '),
  );
}

/** Removes the group and all below it. Its processes have ended before. @throws Error when one is still busy after 10 s. */
export async function removeControlGroup(name: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (const hierarchy of hierarchies()) {
    const group = join(hierarchy, name);
    while (existsSync(group)) {
      try {
        removeTree(group);
      } catch (error) {
        // The kernel lets go of the last process a moment after it has ended.
        if (Date.now() > deadline) throw error;
        await sleep(50);
      }
    }
  }
}

function removeTree(group: string): void {
  for (const entry of readdirSync(group, { withFileTypes: true })) {
    if (entry.isDirectory()) removeTree(join(group, entry.name));
  }
  rmdirSync(group);
}

function isVersion1(): boolean {
  return !existsSync(join(root, 'cgroup.controllers'));
}

/** Version 1 has one tree for each controller, and some names are links to another; beside them may be one of version 2 without controllers. */
function hierarchies(): string[] {
  if (!isVersion1()) return [root];
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(root, entry.name));
}
