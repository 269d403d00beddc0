import type { LaunchSpec } from '../../contract/runners.js';
import { ConfigurationError } from '../../infra/config/read-env.js';
import { readSupervisorConfig, type SupervisorConfig } from '../../infra/config/supervisor-config.js';
import { type ExitReason, writeExitReason } from '../../infra/processes/exit-reason.js';
import { removePidFile, writePidFile } from '../../infra/processes/pid-file.js';
import { readProcessIdentity } from '../../infra/processes/process-identity.js';
import { createLogger, describeError, type Logger } from '../../infra/telemetry/logger.js';
import { createRedactor } from '../../infra/telemetry/redaction.js';
import { startTracing, type Tracing } from '../../infra/telemetry/tracing.js';
import { takeLaunchFile } from './launch-file.js';
import { stopLimits } from './stop-limits.js';
import { exitCodes, Supervisor } from './supervisor.js';

/** The collector must not hold the runner. */
const flushLimitMs = 2_000;

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
  let tracing: Tracing | undefined;
  try {
    const spec = await takeLaunchFile(config.launchFile);
    tracing = startRunnerTracing(spec, log);
    const supervisor = new Supervisor(spec, {
      log: log.child({ jobId: spec.jobId, sessionId: spec.sessionId }),
      redactor,
    });
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        supervisor.stop();
        setTimeout(() => process.exit(exitCodes.failed), stopLimits.allMs).unref();
      });
    }
    // Local runners are detached: the end of a terminal is not theirs.
    process.on('SIGHUP', () => undefined);
    const { exitCode, prerequisite } = await supervisor.run();
    if (prerequisite !== undefined)
      leaveReason(config, { exitCode, message: redactor.text(prerequisite) }, log);
    return exitCode;
  } catch (error) {
    log.error({ error: redactor.text(describeError(error)) }, 'supervisor failed');
    return exitCodes.failed;
  } finally {
    await tracing?.shutdown(flushLimitMs);
    if (config.pidFile !== undefined) removePidFile(config.pidFile);
  }
}

/** Without an endpoint nothing is made: requests carry on the trace of the run all the same. */
function startRunnerTracing({ telemetry }: LaunchSpec, log: Logger): Tracing | undefined {
  if (telemetry.otlpEndpoint === null) return undefined;
  let failures = 0;
  return startTracing({
    serviceName: 'agentrun-runner',
    otlpEndpoint: telemetry.otlpEndpoint,
    onFailure: (part, error) => {
      failures += 1;
      if (failures === 1 || failures % 100 === 0)
        log.warn({ part, failures, error: describeError(error) }, 'spans were not sent');
    },
  });
}

/** For the launcher, which tells the run: the API cannot be told. */
function leaveReason(config: SupervisorConfig, reason: ExitReason, log: Logger): void {
  if (config.exitReasonFile === undefined) return;
  try {
    writeExitReason(config.exitReasonFile, reason);
  } catch (error) {
    log.warn({ path: config.exitReasonFile, error: describeError(error) }, 'the reason was not written');
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`supervisor failed: ${describeError(error)}\n`);
    process.exit(exitCodes.failed);
  },
);
