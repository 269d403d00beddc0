import type { LaunchSpec } from '../../contract/runners.js';
import type { RunnerLaunch } from './launcher.js';

/** What a worker tells every runner. */
export interface ToldToRunners {
  readonly managerUrl: string;
  /** The setting that it came from. */
  readonly managerUrlVariable: string;
  /** Where runners send their spans; null: nowhere. */
  readonly otlpEndpoint: string | null;
}

/** Where a runner finds things, which its launcher decides. */
type Places = Pick<
  LaunchSpec,
  | 'agentHostSocket'
  | 'workspaceDirectory'
  | 'agentHomeDirectory'
  | 'supervisorDirectory'
  | 'measuredDirectory'
  | 'provider'
>;

/** What the supervisor of an attempt is told. Holds the launch token. */
export function launchSpecOf(launch: RunnerLaunch, told: ToldToRunners, places: Places): LaunchSpec {
  return {
    jobId: launch.jobId,
    jobName: launch.jobName,
    runId: launch.runId,
    epoch: launch.epoch,
    sessionId: launch.sessionId,
    backendProfile: launch.backendProfile,
    managerUrl: told.managerUrl,
    managerUrlVariable: told.managerUrlVariable,
    launchToken: launch.launchToken,
    leaseMs: launch.leaseMs,
    traceparent: launch.traceparent,
    telemetry: { otlpEndpoint: told.otlpEndpoint },
    ...places,
  };
}
