import type { JsonObject } from '../../contract/json.js';
import type { Workspace } from '../../contract/runs.js';
import type { ProcessFate } from '../../domain/supervision.js';

/** An attempt that is to get a runner. */
export interface RunnerLaunch {
  readonly jobId: string;
  /** Deterministic per attempt: a launch that is repeated adopts what exists. */
  readonly jobName: string;
  readonly runId: string;
  readonly epoch: number;
  readonly sessionId: string;
  readonly tenantId: string;
  readonly backendProfile: string;
  readonly workspace: Workspace | null;
  /** The session's volume claim, which is there; of no use to a launcher of processes. */
  readonly volumeName: string | null;
  readonly leaseMs: number;
  readonly launchToken: string;
  /** W3C trace context of the run. */
  readonly traceparent: string | null;
}

/** What the runner is to run in refuses it, however often it is asked. `failureKind` says whether another attempt may be let in. */
export class LaunchRefusedError extends Error {
  override readonly name = 'LaunchRefusedError';
  readonly failureKind: 'invalid-pod' | 'unschedulable' | 'prerequisite-failed';

  constructor(failureKind: LaunchRefusedError['failureKind'], message: string) {
    super(message);
    this.failureKind = failureKind;
  }
}

/** The one thing in which local mode and a cluster differ for a turn (architecture.md 7a). */
export interface Launcher {
  readonly kind: 'process' | 'kubernetes' | 'external';
  /** Starts the runner, or adopts the one of this job name, alive or dead: a job name never gets a second one. */
  launch(launch: RunnerLaunch, signal: AbortSignal): Promise<void>;
  /** Asks the runner to end, ends it after `graceMs`, and answers when it is proven gone. */
  stop(jobName: string, graceMs: number): Promise<void>;
  /**
   * Clears away what is left of a runner that was seen gone, at once or in time, where nobody waits for it. False: something of it is still ending, ask again;
   * until then it is not proven gone.
   */
  retire(jobName: string): Promise<boolean>;
  /** What can still be seen of a runner, for whoever looks for a cause when it is deleted; bounded, without secrets. Undefined: nothing. */
  diagnostics(jobName: string): Promise<JsonObject | undefined>;
  /** Whether the runner's own process or pod is there, and if not, why; `unknown` when it was not launched (yet). */
  fate(jobName: string): Promise<ProcessFate>;
  /** Calls `onChange` soon after the fate of the runner may have changed, until the returned function is called. It must not throw. */
  watch(jobName: string, onChange: () => void): () => void;
}
