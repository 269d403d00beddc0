import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LaunchSpec } from '../../contract/runners.js';
import { childEnvironment } from '../config/child-environment.js';
import { packageRoot } from '../config/package-root.js';
import { readPidFile, writePidFile } from '../processes/pid-file.js';
import { type ProcessIdentity, readProcessIdentity } from '../processes/process-identity.js';
import { prepareWorkspace } from '../workspace/prepare-workspace.js';
import { launchSpecOf, type ToldToRunners } from './launch-spec.js';
import type { Launcher, RunnerLaunch } from './launcher.js';
import { runnerFolders, sessionFolders } from './local-folders.js';
import { RunnerProcesses } from './runner-processes.js';

export interface ProcessLauncherSettings extends ToldToRunners {
  readonly dataDir: string;
  readonly provider: LaunchSpec['provider'];
  readonly bootRepositoryUrl: string | undefined;
  readonly logLevel: string;
}

/**
 * Runs a runner as two detached process groups with pid files: agent-host and supervisor (architecture.md 7). They outlive the worker; the next one
 * finds them by pid and kernel start time. No isolation boundary: the agent runs as the same user.
 */
export class ProcessLauncher extends RunnerProcesses implements Launcher {
  readonly kind = 'process';
  readonly #settings: ProcessLauncherSettings;
  readonly #launching = new Map<string, Promise<void>>();

  constructor(settings: ProcessLauncherSettings) {
    super(settings.dataDir);
    this.#settings = settings;
  }

  /** A launch that is repeated while the first one goes on waits for it. */
  launch(launch: RunnerLaunch, signal: AbortSignal): Promise<void> {
    const former = this.#launching.get(launch.jobName);
    const mine = (former ?? Promise.resolve())
      .catch(() => undefined)
      .then(() => this.#launch(launch, signal));
    this.#launching.set(launch.jobName, mine);
    return mine.finally(() => {
      if (this.#launching.get(launch.jobName) === mine) this.#launching.delete(launch.jobName);
    });
  }

  async #launch(launch: RunnerLaunch, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { dataDir } = this.#settings;
    const folders = runnerFolders(dataDir, launch.jobName);
    if (this.supervisorOf(launch.jobName) !== undefined) return;
    const session = sessionFolders(dataDir, launch.sessionId);
    await mkdir(folders.root, { recursive: true, mode: 0o700 });
    for (const folder of [session.agentHome, session.supervisor])
      await mkdir(folder, { recursive: true, mode: 0o700 });
    const { bootRepositoryUrl: defaultRepository } = this.#settings;
    const place = { kind: 'machine', dataDir } as const;
    await prepareWorkspace(session.workspace, launch.workspace, { place, defaultRepository }, signal);
    const socket = agentHostSocket(dataDir, launch.jobName);
    const spec = launchSpecOf(launch, this.#settings, {
      agentHostSocket: socket,
      workspaceDirectory: session.workspace,
      agentHomeDirectory: session.agentHome,
      supervisorDirectory: session.supervisor,
      measuredDirectory: null,
      provider: this.#settings.provider,
    });
    await writeFile(folders.launchFile, JSON.stringify(spec), { mode: 0o600 });
    await rm(socket, { force: true });
    const agentHost = await this.#start('agent-host', folders.agentHostLog, folders.agentHostPidFile, {
      AGENTRUN_AGENT_HOST_SOCKET: socket,
      AGENTRUN_AGENT_HOST_PID_FILE: folders.agentHostPidFile,
      HOME: session.agentHome,
    });
    const supervisor = await this.#start(
      'supervisor',
      folders.supervisorLog,
      folders.supervisorPidFile,
      {
        AGENTRUN_LAUNCH_FILE: folders.launchFile,
        AGENTRUN_PID_FILE: folders.supervisorPidFile,
        AGENTRUN_EXIT_REASON_FILE: folders.exitReasonFile,
        AGENTRUN_LOG_LEVEL: this.#settings.logLevel,
      },
      () => this.changed(launch.jobName),
    );
    // Unlike the pid files, which the programs remove when they end in order, this stays: the job name is used up.
    await writeFile(folders.launchedFile, JSON.stringify({ agentHost, supervisor }), { mode: 0o600 });
  }

  async #start(
    program: string,
    logFile: string,
    pidFile: string,
    environment: Record<string, string>,
    onExit: () => void = () => undefined,
  ): Promise<ProcessIdentity | undefined> {
    const log = await open(logFile, 'a', 0o600);
    try {
      const child = spawn(process.execPath, [join(packageRoot(), 'dist', 'runner', program, 'main.js')], {
        detached: true,
        stdio: ['ignore', log.fd, log.fd],
        env: childEnvironment(environment),
      });
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', reject);
      });
      child.once('exit', onExit);
      child.unref();
      // The program writes the same file itself; written here too, a worker that dies now still leaves a trace of it.
      const identity = child.pid === undefined ? undefined : readProcessIdentity(child.pid);
      if (identity !== undefined && readPidFile(pidFile) === undefined) writePidFile(pidFile, identity);
      return identity;
    } finally {
      await log.close();
    }
  }
}

/** A unix socket's path has at most 107 bytes, so it does not stand in the data folder. Its folder is the owner's alone. */
function agentHostSocket(dataDir: string, jobName: string): string {
  const name = createHash('sha256').update(`${dataDir}/${jobName}`).digest('hex').slice(0, 24);
  return join(tmpdir(), `agentrun-${name}.sock`);
}
