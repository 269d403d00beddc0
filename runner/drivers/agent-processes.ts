import type { GroupSignal } from '../agent-host/protocol.js';

/** How a process ended. `error` is set when it never started, or when agent-host itself went away. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: string | null;
  readonly error: string | null;
  /** The kernel killed it, because the memory of its container ran out. */
  readonly outOfMemory: boolean;
}

/** The agent's own process ended while it was needed. The message says how, for a person. */
export class AgentEndedError extends Error {
  override readonly name = 'AgentEndedError';
  readonly failureKind: 'runner-oom-killed' | 'agent-error';

  /** @param lastWords what it wrote to stderr before. */
  constructor(exit: ProcessExit, lastWords: string) {
    super(`the agent process ended (${exitWords(exit)})${lastWords === '' ? '' : `: ${lastWords}`}`);
    this.failureKind = exitFailureKind(exit);
  }
}

/** Which failure of a turn it is when the agent's own process ended in the middle of it. */
export function exitFailureKind({ outOfMemory }: ProcessExit): 'runner-oom-killed' | 'agent-error' {
  return outOfMemory ? 'runner-oom-killed' : 'agent-error';
}

/** How a process ended, in words for a person. */
export function exitWords({ code, signal, error, outOfMemory }: ProcessExit): string {
  if (outOfMemory) return 'killed because the memory of its container ran out';
  return error ?? `exit code ${code ?? 'none'}${signal === null ? '' : `, signal ${signal}`}`;
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
