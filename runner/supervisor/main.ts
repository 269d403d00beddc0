import type { LaunchSpec } from '../../contract/runners.js';
import { ConfigurationError } from '../../infra/config/read-env.js';
import { readSupervisorConfig, type SupervisorConfig } from '../../infra/config/supervisor-config.js';
import { type ExitReason, writeExitReason } from '../../infra/processes/exit-reason.js';
import { removePidFile, writePidFile } from '../../infra/processes/pid-file.js';
import { readProcessIdentity } from '../../infra/processes/process-identity.js';
import { createLogger, describeError, type Logger } from '../../infra/telemetry/logger.js';
import { createRedactor } from '../../infra/telemetry/redaction.js';
import { startTracing, type Tracing } from '../../infra/telemetry/tracing.js';
import { type HealthServing, type Missing, serveHealth } from './health-server.js';
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
  let supervisor: Supervisor | undefined;
  let health: HealthServing | undefined;
  try {
    // First of all: as long as nothing has connected to agent-host, nothing of the agent's can have the port.
    health = await startHealth(config, () => supervisor?.missing() ?? ['launch-file'], log);
    const spec = await takeLaunchFile(config.launchFile);
    tracing = startRunnerTracing(spec, log);
    const serving = new Supervisor(spec, {
      agentHostTimeoutMs: config.agentHostTimeoutMs,
      log: log.child({ jobId: spec.jobId, sessionId: spec.sessionId }),
      redactor,
    });
    supervisor = serving;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        serving.stop();
        setTimeout(() => process.exit(exitCodes.failed), stopLimits.allMs).unref();
      });
    }
    // Local runners are detached: the end of a terminal is not theirs.
    process.on('SIGHUP', () => undefined);
    const { exitCode, prerequisite } = await serving.run();
    if (prerequisite !== undefined)
      leaveReason(config, { exitCode, message: redactor.text(prerequisite) }, log);
    return exitCode;
  } catch (error) {
    if (error instanceof HealthPortError) {
      log.error({ port: config.healthPort }, error.message);
      leaveReason(config, { exitCode: exitCodes.misconfigured, message: error.message }, log);
      return exitCodes.misconfigured;
    }
    log.error({ error: redactor.text(describeError(error)) }, 'supervisor failed');
    return exitCodes.failed;
  } finally {
    await tracing?.shutdown(flushLimitMs);
    await health?.close();
    if (config.pidFile !== undefined) removePidFile(config.pidFile);
  }
}

/** The port of the probes cannot be had: whoever has it would answer for this runner. */
class HealthPortError extends Error {
  override readonly name = 'HealthPortError';
}

/** @throws HealthPortError */
async function startHealth(
  { healthPort }: SupervisorConfig,
  missing: () => readonly Missing[],
  log: Logger,
): Promise<HealthServing | undefined> {
  if (healthPort === undefined) return undefined;
  try {
    const health = await serveHealth(healthPort, missing);
    log.info({ port: health.port }, 'health is served');
    return health;
  } catch (error) {
    const reason = `port ${healthPort} of the probes (AGENTRUN_HEALTH_PORT) cannot be had: ${describeError(error)}`;
    throw new HealthPortError(reason, { cause: error });
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
