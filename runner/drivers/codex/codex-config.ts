import { randomBytes } from 'node:crypto';
import { lstat, mkdir, open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Variable of the agent's environment with the placeholder that is good only at the proxy. */
export const providerKeyVariable = 'AGENTRUN_PROVIDER_KEY';

/** `CODEX_HOME` of a session: a folder of the agent's home. */
export function codexHome(agentHomeDirectory: string): string {
  return join(agentHomeDirectory, 'codex');
}

/**
 * The config.toml of a session (agents.md 2.1, config.toml). Retries and idle limits are low on purpose: the retry of a
 * turn is AgentRun's. The whole environment stays out of files (`shell_snapshot`) and of commands (`inherit`).
 */
export function codexConfig(settings: { readonly model: string; readonly baseUrl: string }): string {
  return `model = ${tomlString(settings.model)}
model_provider = "agentrun"
approval_policy = "never"
sandbox_mode = "danger-full-access"

[history]
persistence = "none"

[features]
shell_snapshot = false

[shell_environment_policy]
inherit = "core"
ignore_default_excludes = false

[model_providers.agentrun]
name = "AgentRun proxy"
base_url = ${tomlString(settings.baseUrl)}
wire_api = "responses"
env_key = "${providerKeyVariable}"
request_max_retries = 2
stream_max_retries = 2
stream_idle_timeout_ms = 90000
`;
}

/**
 * Writes config.toml into the agent's home, before anything of the agent runs. The folder may hold what an earlier turn
 * left there, so no link is followed: the folder must be a real one, and the file is made new and moved into place.
 *
 * @throws Error when the folder is a link or something else.
 */
export async function writeCodexConfig(agentHomeDirectory: string, content: string): Promise<void> {
  const home = codexHome(agentHomeDirectory);
  await mkdir(home, { mode: 0o700 }).catch((error: unknown) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  });
  if (!(await lstat(home)).isDirectory()) throw new Error('the agent home is not a folder of its own');
  const temporary = join(home, `.config-${randomBytes(6).toString('hex')}`);
  try {
    const file = await open(temporary, 'wx', 0o600);
    await file.writeFile(content);
    await file.close();
    await rename(temporary, join(home, 'config.toml'));
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

/** A basic TOML string: JSON's escapes are a subset of TOML's, DEL has to be escaped too. */
function tomlString(text: string): string {
  return JSON.stringify(text).replaceAll('\u007f', '\\u007f');
}
