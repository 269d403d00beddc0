import { ConfigurationError } from '../infra/config/read-env.js';
import { readStackConfig, type StackConfig } from '../infra/config/stack-config.js';
import { startWarnings } from '../infra/config/start-warnings.js';
import { findRunningStack, type StackFile } from './stack/stack-file.js';
import { StackAlreadyRunningError, startStack } from './stack/start-stack.js';

/** Exit codes of `agentrun up`. */
export const upExitCodes = {
  stopped: 0,
  startFailed: 1,
  wrongConfiguration: 2,
  alreadyRunning: 3,
  interrupted: 130,
} as const;

/** How `agentrun up` is run. */
export interface UpOptions {
  /** Overrides AGENTRUN_DATA_DIR. */
  readonly dataDir?: string;
  /** Where lines for people go; default: stdout. */
  readonly log?: (line: string) => void;
}

/**
 * `agentrun up`: starts the local stack in the foreground and keeps it until Ctrl-C, SIGTERM or SIGHUP, which stop all
 * of it in order within 15 s. A second signal kills at once.
 *
 * @returns the exit code, one of {@link upExitCodes}.
 */
export async function runUp(options: UpOptions = {}): Promise<number> {
  const log = options.log ?? printLine;
  let config: StackConfig;
  try {
    config = readStackConfig();
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    log(error.message);
    return upExitCodes.wrongConfiguration;
  }
  const dataDir = options.dataDir ?? config.dataDir;
  for (const { variable, message } of startWarnings()) log(`${variable}: ${message}`);
  // A terminal that went away must not end `up` in the middle of its stop.
  process.stdout.on('error', () => undefined);
  const signals = watchSignals(log);
  try {
    const { first: signal, onSecond: onKillSwitch } = signals;
    const stack = await startStack({ config, dataDir, log, signal, onKillSwitch });
    printAddresses(stack, log);
    log('Ctrl-C stops all of it.');
    await untilAborted(signals.first);
    await stack.stop();
    log('stopped');
    return upExitCodes.stopped;
  } catch (error) {
    if (error instanceof StackAlreadyRunningError) {
      reportRunning(error, findRunningStack(dataDir), log);
      return upExitCodes.alreadyRunning;
    }
    if (signals.first.aborted) {
      log('stopped before everything had started');
      return upExitCodes.interrupted;
    }
    log(error instanceof Error ? error.message : String(error));
    return upExitCodes.startFailed;
  } finally {
    signals.release();
  }
}

/** Says how to reach a stack: what `up` prints at its end, and the demo too. */
export function printAddresses(stack: StackFile, log: (line: string) => void): void {
  log('');
  log(`  API          ${stack.apiUrl} (its documentation: ${stack.apiUrl}/docs)`);
  log(`  Temporal UI  ${stack.temporalUiUrl}`);
  log(`  API token    in ${stack.apiTokenFile}`);
  log('');
}

function reportRunning(
  error: StackAlreadyRunningError,
  stack: StackFile | undefined,
  log: (line: string) => void,
): void {
  log(error.message);
  if (stack === undefined) log('It is still starting.');
  else printAddresses(stack, log);
}

/** The first signal asks for an orderly stop; the second one runs what was given to `onSecond` and ends the process. */
function watchSignals(log: (line: string) => void) {
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const first = new AbortController();
  let atSecond: () => void = () => undefined;
  const onSignal = (name: NodeJS.Signals) => {
    if (!first.signal.aborted) {
      log(`${name}: stopping (again to kill at once)`);
      first.abort(new Error(`stopped by ${name}`));
      return;
    }
    log(`${name}: killing`);
    atSecond();
    process.exit(upExitCodes.interrupted);
  };
  for (const name of names) process.on(name, onSignal);
  return {
    first: first.signal,
    onSecond: (run: () => void) => {
      atSecond = run;
    },
    release: () => {
      for (const name of names) process.off(name, onSignal);
    },
  };
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

function printLine(line: string): void {
  process.stdout.write(`${line}\n`);
}
