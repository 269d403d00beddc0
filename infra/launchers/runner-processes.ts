import { z } from 'zod';
import type { ProcessFate } from '../../domain/supervision.js';
import { readExitReason } from '../processes/exit-reason.js';
import { readPidFile, readPidFileAs } from '../processes/pid-file.js';
import { endProcessGroup } from '../processes/process-group.js';
import {
  isSameProcessAlive,
  type ProcessIdentity,
  processIdentitySchema,
} from '../processes/process-identity.js';
import { runnerFolders } from './local-folders.js';
import { ProcessWatch } from './process-watch.js';

const retireGraceMs = 1_000;

/**
 * The processes of runners that were started on this machine, by this worker or a former one: seen and ended, not started. A runner of which there is no
 * trace here was not launched here.
 */
export class RunnerProcesses {
  readonly #dataDir: string;
  readonly #watch = new ProcessWatch((jobName) => this.#fateOf(jobName).state);

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
  }

  /** See Launcher. */
  async stop(jobName: string, graceMs: number): Promise<void> {
    const folders = runnerFolders(this.#dataDir, jobName);
    const launched = readPidFileAs(folders.launchedFile, launchedSchema);
    const host = readPidFileAs(folders.agentHostPidFile, hostFileSchema);
    await end(this.supervisorOf(jobName), graceMs, jobName);
    await end(launched?.agentHost ?? host, graceMs, jobName);
    // Orphans of an agent-host that was killed: it leads the list of its children in its pid file.
    for (const child of host?.children ?? []) await end(child, 0, jobName);
  }

  /** See Launcher. Its agent-host may have outlived it, and has nothing left to do. */
  async retire(jobName: string): Promise<boolean> {
    await this.stop(jobName, retireGraceMs);
    return true;
  }

  /** See Launcher. Logs and pid files stay where they are. */
  diagnostics(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  /** See Launcher. */
  fate(jobName: string): Promise<ProcessFate> {
    return Promise.resolve(this.#fateOf(jobName));
  }

  /** See Launcher. */
  watch(jobName: string, onChange: () => void): () => void {
    return this.#watch.watch(jobName, onChange);
  }

  /** A process of the runner has ended. */
  changed(jobName: string): void {
    this.#watch.changed(jobName);
  }

  /** The runner's supervisor, alive or dead; undefined when it was not launched here. */
  supervisorOf(jobName: string): ProcessIdentity | undefined {
    const folders = runnerFolders(this.#dataDir, jobName);
    return (
      readPidFileAs(folders.launchedFile, launchedSchema)?.supervisor ??
      readPidFile(folders.supervisorPidFile)
    );
  }

  /**
   * Why a process ended is what it wrote down itself, if it could: the kernel's out-of-memory killer leaves the same signal as any other, and the exit
   * code of a runner that a former worker started reaches nobody.
   */
  #fateOf(jobName: string): ProcessFate {
    const supervisor = this.supervisorOf(jobName);
    if (supervisor === undefined) return { state: 'unknown' };
    if (isSameProcessAlive(supervisor)) return { state: 'alive' };
    const reason = readExitReason(runnerFolders(this.#dataDir, jobName).exitReasonFile);
    return reason === undefined
      ? { state: 'gone', cause: null }
      : { state: 'gone', cause: 'prerequisite-failed', message: reason.message };
  }
}

const launchedSchema = z.object({
  agentHost: processIdentitySchema.optional(),
  supervisor: processIdentitySchema.optional(),
});
const hostFileSchema = processIdentitySchema.extend({ children: z.array(processIdentitySchema).default([]) });

async function end(identity: ProcessIdentity | undefined, graceMs: number, jobName: string): Promise<void> {
  if (identity === undefined) return;
  const ended = await endProcessGroup(identity, { signal: 'SIGTERM', graceMs });
  if (ended === 'alive')
    throw new Error(`processes of runner ${jobName} cannot be ended (process group ${identity.pid})`);
}
