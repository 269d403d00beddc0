import { join } from 'node:path';
import { readStackConfig, type StackConfig } from '../../infra/config/stack-config.js';
import { stopLeftovers } from './leftovers.js';
import { livingRunners } from './local-runners.js';
import { createLocalSecrets, writeProviderKey } from './local-secrets.js';
import { runToEnd } from './one-shot.js';
import {
  apiChild,
  migrationsCommand,
  type StackAddresses,
  scriptedModelChild,
  workerChild,
} from './own-programs.js';
import { loopback } from './ports.js';
import { postgresChild, preparePostgres, writeDatabaseUrl } from './postgres.js';
import { chooseProvider } from './provider-choice.js';
import { type Relay, startRelay } from './relay.js';
import { readStackFile, type StackFile, writeStackFile } from './stack-file.js';
import { acquireLock, stackLockFile } from './stack-lock.js';
import { childLogFile, createStackFolders, type StackPaths, stackPaths } from './stack-paths.js';
import { chooseStackPorts, type StackPorts } from './stack-ports.js';
import { type Log, StackProcesses } from './stack-processes.js';
import { findTemporalBinary } from './temporal-binary.js';
import { temporalChild } from './temporal-server.js';

/** The parts beside Postgres and Temporal, which always run. */
export type StackPart = 'migrations' | 'scripted-model' | 'worker' | 'api';

const allParts: readonly StackPart[] = ['migrations', 'scripted-model', 'worker', 'api'];

/** How to start a local stack. */
export interface StartStackOptions {
  /** Default: the environment's. */
  readonly config?: StackConfig;
  /** Overrides the configured data folder. */
  readonly dataDir?: string;
  /** Default: all. The scripted model server runs only when no provider is configured. */
  readonly parts?: readonly StackPart[];
  /** `usual` (default): the previous start's or the well-known ports, if free. `any`: free ports, for tests. */
  readonly ports?: 'usual' | 'any';
  /** The address that everything listens at. Default: loopback; that of a local cluster's network lets its pods reach the stack. */
  readonly host?: string;
  readonly log: Log;
  /** Ends the start; whatever runs by then is stopped. */
  readonly signal?: AbortSignal;
  /** Receives, before anything starts, what kills everything at once: for a second Ctrl-C during the start. */
  readonly onKillSwitch?: (kill: () => void) => void;
}

/** A local stack that runs in this process' care. */
export interface Stack extends StackFile {
  readonly paths: StackPaths;
  /** Stops everything in order, runners included, within 15 s. Can be called twice. */
  stop(): Promise<void>;
  /** Kills everything at once, runners included, without waiting. */
  kill(): void;
}

/** Another `up` owns the data folder. */
export class StackAlreadyRunningError extends Error {
  readonly pid: number;

  constructor(dataDir: string, pid: number) {
    super(`agentrun is already running for ${dataDir} (pid ${pid})`);
    this.name = 'StackAlreadyRunningError';
    this.pid = pid;
  }
}

/**
 * Starts Postgres, the Temporal server, the migrations, the scripted model server, the worker and the API, and keeps
 * them running until `stop`. Data, secrets and ports of the previous start are found again; children that a killed
 * start left behind are stopped first, runners that live are left to the new worker.
 *
 * @throws StackAlreadyRunningError, ConfigurationError, or an Error that says which part failed and why; everything
 * that was started is stopped by then.
 */
export async function startStack(options: StartStackOptions): Promise<Stack> {
  const config = options.config ?? readStackConfig();
  const paths = stackPaths(options.dataDir ?? config.dataDir);
  createStackFolders(paths);
  const lock = acquireLock(stackLockFile(paths));
  if (lock.kind === 'held') throw new StackAlreadyRunningError(paths.dataDir, lock.owner.pid);
  const relays: Relay[] = [];
  const processes = new StackProcesses(paths.runnersDir, options.log, () => {
    for (const relay of relays) relay.close();
    lock.release();
  });
  options.onKillSwitch?.(() => processes.kill());
  try {
    const file = await startParts(options, config, paths, processes, relays);
    processes.takeOverRunners();
    return { ...file, paths, stop: async () => await processes.stop(), kill: () => processes.kill() };
  } catch (error) {
    await processes.stop();
    throw error;
  }
}

async function startParts(
  options: StartStackOptions,
  config: StackConfig,
  paths: StackPaths,
  processes: StackProcesses,
  relays: Relay[],
): Promise<StackFile> {
  const { log, signal, host = loopback, parts = allParts } = options;
  await stopLeftovers(paths, log);
  reportLivingRunners(paths, log);
  createLocalSecrets(paths);
  const ports = await chooseStackPorts({
    kind: options.ports ?? 'usual',
    host,
    apiPort: config.apiPort,
    recorded: readStackFile(paths.dataDir)?.ports,
    log,
  });

  const [prepared, binary] = await allOrFirstError([
    preparePostgres(paths, log, signal),
    findTemporalBinary({ ...config, cliPath: config.temporalCliPath, logFile: buildLog(paths), log, signal }),
  ]);
  writeDatabaseUrl(paths, prepared.password, { host, port: ports.postgres });
  const provider = chooseProvider(config.provider);
  writeProviderKey(paths, provider.key);
  const scripted = provider.kind === 'scripted' && parts.includes('scripted-model');
  const scriptedUrl = scripted ? `http://${host}:${ports.scriptedModel}` : null;

  await processes.startTogether(
    [
      postgresChild(paths, prepared, { host, port: ports.postgres }, log),
      temporalChild(paths, { binary, port: ports.temporal, uiPort: ports.temporalUi }),
      ...(scripted ? [scriptedModelChild(paths, { host, port: ports.scriptedModel })] : []),
    ],
    signal,
  );
  if (host !== loopback) relays.push(await startRelay(ports.temporal, host, loopback));
  if (parts.includes('migrations')) await migrate(paths, log, signal);

  const addresses: StackAddresses = {
    apiUrl: `http://${host}:${ports.api}`,
    apiHost: host,
    apiPort: ports.api,
    temporalAddress: `${host}:${ports.temporal}`,
    providerBaseUrl:
      provider.kind === 'provider' ? provider.baseUrl : `http://${host}:${ports.scriptedModel}/v1`,
  };
  await processes.startTogether(
    [
      ...(parts.includes('worker') ? [workerChild(paths, addresses, provider, config.passedOn)] : []),
      ...(parts.includes('api') ? [apiChild(paths, addresses, config.passedOn)] : []),
    ],
    signal,
  );
  const file = describeStack(paths, addresses, ports, scriptedUrl);
  writeStackFile(paths.dataDir, file);
  return file;
}

function describeStack(
  paths: StackPaths,
  addresses: StackAddresses,
  ports: StackPorts,
  scriptedUrl: string | null,
): StackFile {
  return {
    apiUrl: addresses.apiUrl,
    temporalAddress: addresses.temporalAddress,
    temporalUiUrl: `http://${loopback}:${ports.temporalUi}`,
    databaseUrlFile: paths.databaseUrlFile,
    apiTokenFile: paths.apiTokenFile,
    scriptedUrl,
    pid: process.pid,
    ports,
  };
}

async function migrate(paths: StackPaths, log: Log, signal?: AbortSignal): Promise<void> {
  const startedAt = Date.now();
  const logFile = childLogFile(paths, 'migrations');
  await runToEnd(migrationsCommand(paths), { name: 'migrations', logFile, timeoutMs: 120_000, signal });
  log(`migrations done (${Date.now() - startedAt} ms)`);
}

function reportLivingRunners(paths: StackPaths, log: Log): void {
  const names = livingRunners(paths.runnersDir).map((runner) => runner.name);
  if (names.length > 0) log(`runners that live on from before, for the worker to adopt: ${names.join(', ')}`);
}

function buildLog(paths: StackPaths): string {
  return join(paths.logsDir, 'temporal-build.log');
}

/** As Promise.all, but waits for all of them before it fails, so that nothing goes on behind the caller's back. */
async function allOrFirstError<A, B>(work: [Promise<A>, Promise<B>]): Promise<[A, B]> {
  await Promise.allSettled(work);
  return await Promise.all(work);
}
