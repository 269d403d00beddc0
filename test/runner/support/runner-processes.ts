import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LaunchSpec } from '../../../contract/runners.js';
import { packageRoot } from '../../../infra/config/package-root.js';

export const providerKey = 'sk-test-the-real-provider-key-0123456789';
export const launchToken = 'launch-token-that-nobody-may-see';

/** A runner as the process launcher starts it: agent-host and supervisor from dist/, detached, with their own environments. */
export interface StartedRunner {
  readonly directory: string;
  readonly workspace: string;
  readonly agentHost: ChildProcess;
  readonly supervisor: ChildProcess;
  /** Exit code of the supervisor. */
  readonly supervisorExit: Promise<number | null>;
  readonly agentHostExit: Promise<number | null>;
  /** Everything the supervisor has logged. */
  readonly log: () => string;
  /** Kills what still runs and removes the folder. */
  readonly dispose: () => Promise<void>;
}

/** The programs run from dist/, as in production; `npm test` builds it first. */
export function requirePrograms(): void {
  const program = join(packageRoot(), 'dist', 'runner', 'supervisor', 'main.js');
  if (!existsSync(program)) throw new Error('dist/ is missing: run `npm run build` first');
}

export function startRunner(options: {
  readonly managerUrl: string;
  readonly providerUrl: string;
  readonly runId: string;
  readonly backendProfile: 'codex' | 'command';
  readonly epoch?: number;
  /** The folder of a former runner, as the session's volume of a later attempt. */
  readonly directory?: string;
  /** As in a pod, whose volume nobody else can look at: it measures its workspace. */
  readonly isMeasured?: boolean;
  /** Of the supervisor, beside what every runner is given. */
  readonly supervisorEnv?: Readonly<Record<string, string>>;
}): StartedRunner {
  requirePrograms();
  const directory = options.directory ?? mkdtempSync(join(tmpdir(), 'agentrun-runner-'));
  const epoch = options.epoch ?? 1;
  const workspace = join(directory, 'workspace');
  const agentHome = join(directory, 'agent-home');
  const supervisorDirectory = join(directory, 'supervisor');
  for (const folder of [workspace, agentHome, supervisorDirectory])
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  const keyFile = join(directory, 'provider-key');
  writeFileSync(keyFile, `${providerKey}\n`, { mode: 0o600 });
  const socket = join(directory, `agent-host-${epoch}.sock`);
  const launchFile = join(directory, 'launch.json');
  const spec: LaunchSpec = {
    jobId: 'job_00000000000000000000000000',
    jobName: 'test',
    runId: options.runId,
    epoch,
    sessionId: 'session',
    backendProfile: options.backendProfile,
    managerUrl: options.managerUrl,
    managerUrlVariable: 'AGENTRUN_INTERNAL_MGR_URL',
    launchToken,
    agentHostSocket: socket,
    workspaceDirectory: workspace,
    agentHomeDirectory: agentHome,
    supervisorDirectory,
    provider: { baseUrl: options.providerUrl, model: 'gpt-5-codex', keyFile },
    leaseMs: 3_000,
    traceparent: null,
    telemetry: { otlpEndpoint: null },
    measuredDirectory: options.isMeasured === true ? workspace : null,
  };
  writeFileSync(launchFile, JSON.stringify(spec), { mode: 0o600 });
  chmodSync(launchFile, 0o600);
  const path = process.env.PATH ?? '/usr/bin:/bin';
  const start = (program: string, env: Record<string, string>) =>
    spawn(process.execPath, [join(packageRoot(), 'dist', 'runner', program, 'main.js')], {
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: path, ...env },
    });
  const agentHost = start('agent-host', {
    HOME: agentHome,
    AGENTRUN_AGENT_HOST_SOCKET: socket,
    AGENTRUN_AGENT_HOST_PID_FILE: join(directory, 'agent-host.json'),
  });
  const supervisor = start('supervisor', {
    AGENTRUN_LAUNCH_FILE: launchFile,
    AGENTRUN_PID_FILE: join(directory, 'supervisor.json'),
    AGENTRUN_EXIT_REASON_FILE: join(directory, 'exit-reason.json'),
    ...options.supervisorEnv,
  });
  let log = '';
  for (const stream of [supervisor.stdout, supervisor.stderr, agentHost.stdout, agentHost.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      log += chunk.toString('utf8');
    });
  }
  const supervisorExit = exitOf(supervisor);
  const agentHostExit = exitOf(agentHost);
  return {
    directory,
    workspace,
    agentHost,
    supervisor,
    supervisorExit,
    agentHostExit,
    log: () => log,
    dispose: async () => {
      supervisor.kill('SIGKILL');
      agentHost.kill('SIGTERM');
      await Promise.all([supervisorExit, agentHostExit]);
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

/** Pids of the direct children of a process. */
export function childrenOf(pid: number): number[] {
  return allPids().filter((candidate) => parentOf(candidate) === pid);
}

/** Pids of all descendants of a process. */
export function descendantsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);
}

/** Environment and command line of a process as one text; empty when it is gone. */
export function visibleOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8') + readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

export function isAlive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('exit', (code) => resolve(code)));
}

function allPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function parentOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(
      stat
        .slice(stat.lastIndexOf(')') + 1)
        .trim()
        .split(/\s+/)[1],
    );
  } catch {
    return undefined;
  }
}
