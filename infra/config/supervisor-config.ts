import { z } from 'zod';
import { type Environment, parseEnvironment } from './read-env.js';
import { durationMsSetting, logLevelMeaning, logLevelSetting, portSetting } from './setting-types.js';

/** The variables of a supervisor. Its launcher sets them. */
export const supervisorSettings = z.object({
  AGENTRUN_LAUNCH_FILE: z
    .string()
    .describe(
      'File with what the runner is told; it holds the launch token and is deleted once it is read, unless it is on a read-only volume.',
    ),
  AGENTRUN_LOG_LEVEL: logLevelSetting.default('info').describe(logLevelMeaning),
  AGENTRUN_PID_FILE: z.string().optional().describe('Where it writes its pid.'),
  AGENTRUN_EXIT_REASON_FILE: z
    .string()
    .optional()
    .describe('Where it writes why it ended, for its launcher, when nobody else can be told.'),
  AGENTRUN_HEALTH_PORT: portSetting
    .optional()
    .describe('Port of `/healthz` and `/readyz`, for the probes of a pod. Not set: none.'),
  AGENTRUN_AGENT_HOST_CONNECT_TIMEOUT_MS: durationMsSetting
    .default(30_000)
    .describe('How long it tries to reach its agent-host.'),
});

/** Settings of a supervisor. Everything secret is in the launch file (contract: `launchSpecSchema`), never in the environment. */
export interface SupervisorConfig {
  /** Path of the launch file; it is deleted after reading, where that can be done. */
  readonly launchFile: string;
  readonly logLevel: string;
  /** Where the supervisor writes its pid and kernel start time; absent: nowhere. */
  readonly pidFile: string | undefined;
  /** Where the supervisor says why it ended when the API cannot be told; absent: nowhere. */
  readonly exitReasonFile: string | undefined;
  /** Port of the probes; absent: none. */
  readonly healthPort: number | undefined;
  readonly agentHostTimeoutMs: number;
}

/**
 * Reads the supervisor's settings.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function readSupervisorConfig(env: Environment = process.env): SupervisorConfig {
  const read = parseEnvironment(supervisorSettings, env);
  return {
    launchFile: read.AGENTRUN_LAUNCH_FILE,
    logLevel: read.AGENTRUN_LOG_LEVEL,
    pidFile: read.AGENTRUN_PID_FILE,
    exitReasonFile: read.AGENTRUN_EXIT_REASON_FILE,
    healthPort: read.AGENTRUN_HEALTH_PORT,
    agentHostTimeoutMs: read.AGENTRUN_AGENT_HOST_CONNECT_TIMEOUT_MS,
  };
}
