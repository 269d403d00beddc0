import { readAgentHostConfig } from '../../infra/config/agent-host-config.js';
import { ConfigurationError } from '../../infra/config/read-env.js';
import { removePidFile, writePidFile } from '../../infra/processes/pid-file.js';
import { readProcessIdentity } from '../../infra/processes/process-identity.js';
import { AgentHost } from './agent-host.js';
import { MemoryKills } from './memory-kills.js';

/** One JSON line on stdout. The program holds no secret and stays free of a logger's start-up time. */
function log(message: string, fields: Record<string, unknown> = {}): void {
  process.stdout.write(
    `${JSON.stringify({ name: 'agent-host', time: new Date().toISOString(), ...fields, msg: message })}\n`,
  );
}

/** Runs an agent-host until its supervisor leaves. Exit codes: 0 all ended, 1 unforeseen, 2 wrong configuration. */
async function main(): Promise<number> {
  const config = readAgentHostConfig();
  const self = readProcessIdentity(process.pid);
  const writeSelf = (children: readonly unknown[]): void => {
    if (config.pidFile !== undefined && self !== undefined)
      writePidFile(config.pidFile, self, { name: 'agent-host', children });
  };
  const host = new AgentHost({
    socketPath: config.socketPath,
    childBase: config.childBase,
    connectTimeoutMs: config.connectTimeoutMs,
    memoryKills: MemoryKills.ofThisProcess(),
    onChildren: writeSelf,
    log,
  });
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => host.stop());
  writeSelf([]);
  await host.run();
  if (config.pidFile !== undefined) removePidFile(config.pidFile);
  return 0;
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    log('agent-host failed', {
      error: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
    });
    process.exit(error instanceof ConfigurationError ? 2 : 1);
  },
);
