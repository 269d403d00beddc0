import { PrerequisiteError } from '../workspace/prepare-workspace.js';
import type { Launcher, RunnerLaunch } from './launcher.js';
import { RunnerProcesses } from './runner-processes.js';

/**
 * Starts nothing: every attempt waits for a runner that somebody else starts and that claims it (`AGENTRUN_LAUNCHER=external`). Nobody here sees
 * such a runner's process; its lease tells whether it lives. Those that a former setting started on this machine outlive it: they are seen and ended.
 */
export class ExternalLauncher extends RunnerProcesses implements Launcher {
  readonly kind = 'external';

  /** Only an attempt of a former setting comes here: it ends with the reason. */
  async launch({ jobName }: RunnerLaunch): Promise<void> {
    throw new PrerequisiteError(`${jobName} cannot be started: AGENTRUN_LAUNCHER=external starts no runners`);
  }
}
