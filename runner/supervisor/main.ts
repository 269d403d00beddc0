import { ConfigurationError } from '../../infra/config/read-env.js';
import { readSupervisorConfig, type SupervisorConfig } from '../../infra/config/supervisor-config.js';
import { removePidFile, writePidFile } from '../../infra/processes/pid-file.js';
import { readProcessIdentity } from '../../infra/processes/process-identity.js';
import { createLogger, describeError } from '../../infra/telemetry/logger.js';
import { createRedactor } from '../../infra/telemetry/redaction.js';
import { takeLaunchFile } from './launch-file.js';
import { exitCodes, Supervisor } from './supervisor.js';

/** A stop that takes longer than this is cut short: agent-host ends the agent as soon as we are gone. */
const stopLimitMs = 8_000;

/** Runs one supervisor. Exit codes: `exitCodes`. */
async function main(): Promise<number> {
  let config: SupervisorConfig;
  try {
    config = readSupervisorConfig();
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return exitCodes.misconfigured;
  }
  const redactor = createRedactor();
  const log = createLogger({ name: 'supervisor', level: config.logLevel, redactor });
  const self = readProcessIdentity(process.pid);
  if (config.pidFile !== undefined && self !== undefined)
    writePidFile(config.pidFile, self, { name: 'supervisor' });
  try {
    const spec = await takeLaunchFile(config.launchFile);
    const supervisor = new Supervisor(spec, {
      log: log.child({ jobId: spec.jobId, sessionId: spec.sessionId }),
      redactor,
    });
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        supervisor.stop();
        setTimeout(() => process.exit(exitCodes.failed), stopLimitMs).unref();
      });
    }
    // Local runners are detached: the end of a terminal is not theirs.
    process.on('SIGHUP', () => undefined);
    return await supervisor.run();
  } catch (error) {
    log.error({ error: redactor.text(describeError(error)) }, 'supervisor failed');
    return exitCodes.failed;
  } finally {
    if (config.pidFile !== undefined) removePidFile(config.pidFile);
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`supervisor failed: ${describeError(error)}\n`);
    process.exit(exitCodes.failed);
  },
);
