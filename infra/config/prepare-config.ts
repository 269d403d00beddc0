import { z } from 'zod';
import { podLayout } from '../../domain/kubernetes/pod-layout.js';
import { type Environment, parseEnvironment } from './read-env.js';
import { durationMsSetting, logLevelMeaning, logLevelSetting } from './setting-types.js';

/** The variables of prepare. The manifest of its pod sets those that have no default. */
export const prepareSettings = z.object({
  AGENTRUN_PREPARE_FILE: z.string().describe('File with what the workspace is to hold. Holds no secret.'),
  AGENTRUN_AGENT_DIR: z
    .string()
    .default(podLayout.paths.agent)
    .describe("The agent's part of the session's volume."),
  AGENTRUN_PREPARE_TIMEOUT_MS: durationMsSetting
    .default(540_000)
    .describe('How long it may take; then the attempt has failed.'),
  AGENTRUN_EXIT_REASON_FILE: z.string().optional().describe('Where it writes why it failed.'),
  AGENTRUN_LOG_LEVEL: logLevelSetting.default('info').describe(logLevelMeaning),
});

/** Settings of prepare, the init container that fills the session's workspace. */
export interface PrepareConfig {
  /** Path of the file of `prepareSpecSchema`. */
  readonly prepareFile: string;
  /** Folder of workspace and home. */
  readonly agentDirectory: string;
  readonly timeoutMs: number;
  /** Where it says why it failed; absent: nowhere. */
  readonly exitReasonFile: string | undefined;
  readonly logLevel: string;
}

/**
 * Reads the settings of prepare.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function readPrepareConfig(env: Environment = process.env): PrepareConfig {
  const read = parseEnvironment(prepareSettings, env);
  return {
    prepareFile: read.AGENTRUN_PREPARE_FILE,
    agentDirectory: read.AGENTRUN_AGENT_DIR,
    timeoutMs: read.AGENTRUN_PREPARE_TIMEOUT_MS,
    exitReasonFile: read.AGENTRUN_EXIT_REASON_FILE,
    logLevel: read.AGENTRUN_LOG_LEVEL,
  };
}
