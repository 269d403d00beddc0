import type { GroupSignal } from '../agent-host/protocol.js';

/** How a process ended. `error` is set when it never started, or when agent-host itself went away. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: string | null;
  readonly error: string | null;
}

export interface SpawnRequest {
  readonly file: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly onStdout: (chunk: Buffer) => void;
  readonly onStderr: (chunk: Buffer) => void;
  /** Called once, after all output. */
  readonly onExit: (exit: ProcessExit) => void;
}

/** A process that agent-host runs for us. Writing to one that has ended is without effect. */
export interface AgentProcess {
  write(data: string): void;
  closeStdin(): void;
  /** Signals the whole process group. */
  signal(signal: GroupSignal): void;
  readonly exited: boolean;
}

/** What a driver may use to run an agent; the only implementation talks to agent-host. */
export interface AgentProcesses {
  spawn(request: SpawnRequest): AgentProcess;
}
