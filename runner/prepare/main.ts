import { readFile } from 'node:fs/promises';
import { type PrepareSpec, prepareSpecSchema } from '../../contract/runners.js';
import { type PrepareConfig, readPrepareConfig } from '../../infra/config/prepare-config.js';
import { ConfigurationError } from '../../infra/config/read-env.js';
import { writeExitReason } from '../../infra/processes/exit-reason.js';
import { createLogger, describeError, type Logger } from '../../infra/telemetry/logger.js';
import { createRedactor } from '../../infra/telemetry/redaction.js';
import { InterruptedCloneError, PrerequisiteError } from '../../infra/workspace/prepare-workspace.js';
import { fillVolume } from './fill-volume.js';

/** Exit codes of prepare; those of a supervisor mean the same. */
const exitCodes = {
  filled: 0,
  /** Another attempt may succeed. */
  failed: 1,
  /** No attempt can succeed (decisions.md, `prerequisite-failed`). */
  misconfigured: 2,
} as const;

/**
 * Fills the session's workspace before its agent and its supervisor begin: the init container of a runner's pod (architecture.md 7). Either all of it is
 * there afterwards, or the attempt has failed with a reason: an agent never begins in a workspace that is empty by mistake.
 */
async function main(): Promise<number> {
  let config: PrepareConfig;
  try {
    config = readPrepareConfig();
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return exitCodes.misconfigured;
  }
  const redactor = createRedactor();
  const log = createLogger({ name: 'prepare', level: config.logLevel, redactor });
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.on(signal, () => stop.abort(new Error(`prepare was stopped by ${signal}`)));
  const limit = setTimeout(
    () => stop.abort(new Error(`the workspace was not filled within ${config.timeoutMs} ms`)),
    config.timeoutMs,
  );
  const startedAt = performance.now();
  try {
    const spec = await readPrepareFile(config.prepareFile);
    await fillVolume(config.agentDirectory, spec, { timeoutMs: config.timeoutMs, signal: stop.signal });
    const durationMs = Math.round(performance.now() - startedAt);
    log.info({ sessionId: spec.sessionId, durationMs }, 'the workspace is filled');
    return exitCodes.filled;
  } catch (error) {
    const message = redactor.text(error instanceof PrerequisiteError ? error.message : describeError(error));
    const isFinal = error instanceof PrerequisiteError && !(error instanceof InterruptedCloneError);
    const exitCode = isFinal ? exitCodes.misconfigured : exitCodes.failed;
    log.error({ exitCode, error: message }, 'the workspace was not filled');
    leaveReason(config, { exitCode, message }, log);
    return exitCode;
  } finally {
    clearTimeout(limit);
  }
}

/** @throws Error when it is absent or of another shape. */
async function readPrepareFile(path: string): Promise<PrepareSpec> {
  const parsed = prepareSpecSchema.safeParse(JSON.parse(await readFile(path, 'utf8')));
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map((issue) => issue.path.join('.') || '(root)');
  throw new Error(`the file of prepare does not fit the contract: ${fields.join(', ')}`);
}

function leaveReason(
  { exitReasonFile }: PrepareConfig,
  reason: { exitCode: number; message: string },
  log: Logger,
): void {
  if (exitReasonFile === undefined) return;
  try {
    writeExitReason(exitReasonFile, reason);
  } catch (error) {
    log.warn({ path: exitReasonFile, error: describeError(error) }, 'the reason was not written');
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`prepare failed: ${describeError(error)}\n`);
    process.exit(exitCodes.failed);
  },
);
