import { z } from 'zod';
import { type Environment, parseEnvironment } from './read-env.js';
import { logLevelSetting } from './setting-types.js';

const settings = z.object({
  AGENTRUN_LAUNCH_FILE: z.string(),
  AGENTRUN_LOG_LEVEL: logLevelSetting.default('info'),
  AGENTRUN_PID_FILE: z.string().optional(),
});

/** Settings of a supervisor. Everything secret is in the launch file (contract: `launchSpecSchema`), never in the environment. */
export interface SupervisorConfig {
  /** Path of the launch file; it is deleted after reading. */
  readonly launchFile: string;
  readonly logLevel: string;
  /** Where the supervisor writes its pid and kernel start time; absent: nowhere. */
  readonly pidFile: string | undefined;
}

/**
 * Reads the supervisor's settings.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function readSupervisorConfig(env: Environment = process.env): SupervisorConfig {
  const read = parseEnvironment(settings, env);
  return {
    launchFile: read.AGENTRUN_LAUNCH_FILE,
    logLevel: read.AGENTRUN_LOG_LEVEL,
    pidFile: read.AGENTRUN_PID_FILE,
  };
}
