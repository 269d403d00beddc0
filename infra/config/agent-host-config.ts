import { z } from 'zod';
import { type Environment, parseEnvironment } from './read-env.js';
import { durationMsSetting } from './setting-types.js';

/** The variables of an agent-host. */
export const agentHostSettings = z.object({
  AGENTRUN_AGENT_HOST_SOCKET: z.string().describe('Unix socket on which it listens for its supervisor.'),
  AGENTRUN_AGENT_HOST_PID_FILE: z
    .string()
    .optional()
    .describe('Where it writes its own pid and those of its children.'),
  AGENTRUN_AGENT_HOST_CONNECT_TIMEOUT_MS: durationMsSetting
    .default(120_000)
    .describe('How long it waits for its supervisor, whose container starts after it.'),
  PATH: z.string().default('/usr/local/bin:/usr/bin:/bin').describe('Handed on to the agent.'),
  HOME: z.string().optional().describe('Handed on to the agent.'),
  LANG: z.string().optional().describe('Handed on to the agent.'),
  TMPDIR: z.string().optional().describe('Handed on to the agent.'),
});

/** Settings of an agent-host. It holds no credential (architecture.md 7). */
export interface AgentHostConfig {
  /** Path of the unix socket it listens on. */
  readonly socketPath: string;
  /** Where it writes its own pid and those of its children; absent: nowhere. */
  readonly pidFile: string | undefined;
  readonly connectTimeoutMs: number;
  /** What every child gets beside the variables that the supervisor names for it. */
  readonly childBase: Readonly<Record<string, string>>;
}

/**
 * Reads the agent-host's settings.
 *
 * @throws ConfigurationError naming every wrong variable.
 */
export function readAgentHostConfig(env: Environment = process.env): AgentHostConfig {
  const read = parseEnvironment(agentHostSettings, env);
  const childBase: Record<string, string> = { PATH: read.PATH };
  if (read.HOME !== undefined) childBase.HOME = read.HOME;
  if (read.LANG !== undefined) childBase.LANG = read.LANG;
  if (read.TMPDIR !== undefined) childBase.TMPDIR = read.TMPDIR;
  return {
    socketPath: read.AGENTRUN_AGENT_HOST_SOCKET,
    pidFile: read.AGENTRUN_AGENT_HOST_PID_FILE,
    connectTimeoutMs: read.AGENTRUN_AGENT_HOST_CONNECT_TIMEOUT_MS,
    childBase,
  };
}
