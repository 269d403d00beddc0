import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { readPidFile } from '../../infra/processes/pid-file.js';
import { isProcessGroupAlive, killProcessGroup } from '../../infra/processes/process-group.js';
import { isSameProcessAlive, type ProcessIdentity } from '../../infra/processes/process-identity.js';
import { descendantGroups } from '../../infra/processes/process-tree.js';

/** One local runner of which something still runs. */
export interface LocalRunner {
  /** Name of its folder: the runner's job name. */
  readonly name: string;
  readonly supervisor: ProcessIdentity | undefined;
  readonly agentHost: ProcessIdentity | undefined;
}

/** The runners in `.agentrun/runners` of which a process runs, whoever started them. */
export function livingRunners(runnersDir: string): LocalRunner[] {
  const runners: LocalRunner[] = [];
  for (const name of foldersIn(runnersDir)) {
    const runner = {
      name,
      supervisor: readPidFile(join(runnersDir, name, 'supervisor.json')),
      agentHost: readPidFile(join(runnersDir, name, 'agent-host.json')),
    };
    if (groupsOf(runner).some(isProcessGroupAlive)) runners.push(runner);
  }
  return runners;
}

/**
 * Interrupts every living runner: SIGTERM to its supervisor, which ends the turn and the agent-host; what is still
 * there after `graceMs` is killed with all of its process groups. Runners that appear meanwhile are interrupted too.
 *
 * @returns how many there were.
 */
export async function stopLocalRunners(options: {
  readonly runnersDir: string;
  readonly graceMs: number;
  readonly log: (line: string) => void;
}): Promise<number> {
  const { runnersDir, graceMs, log } = options;
  const interrupted = new Set<string>();
  const deadline = Date.now() + graceMs;
  for (;;) {
    const living = livingRunners(runnersDir);
    if (living.length === 0) return interrupted.size;
    for (const runner of living) {
      if (interrupted.has(runner.name)) continue;
      interrupted.add(runner.name);
      log(`interrupting runner ${runner.name}`);
      interrupt(runner);
    }
    if (Date.now() >= deadline) break;
    await sleep(50);
  }
  for (const runner of livingRunners(runnersDir)) {
    log(`killing runner ${runner.name}, which did not end within ${graceMs / 1_000} s`);
    killRunner(runner);
  }
  return interrupted.size;
}

/** Kills everything of every living runner at once, without waiting. */
export function killLocalRunners(runnersDir: string): void {
  for (const runner of livingRunners(runnersDir)) killRunner(runner);
}

function interrupt(runner: LocalRunner): void {
  const target = groupsOf(runner).find(isSameProcessAlive);
  if (target === undefined) return;
  try {
    process.kill(target.pid, 'SIGTERM');
  } catch {
    // It ended in this moment.
  }
}

/** The agent leads a process group of its own below the agent-host, so the groups of all descendants are collected
 * before anything dies and the tree falls apart. */
function killRunner(runner: LocalRunner): void {
  const groups = groupsOf(runner);
  const below = groups.flatMap((leader) => descendantGroups(leader.pid));
  for (const leader of [...groups, ...below]) killProcessGroup(leader, 'SIGKILL');
}

function groupsOf(runner: LocalRunner): ProcessIdentity[] {
  return [runner.supervisor, runner.agentHost].filter((identity) => identity !== undefined);
}

function foldersIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [entry.name] : [],
    );
  } catch {
    return [];
  }
}
