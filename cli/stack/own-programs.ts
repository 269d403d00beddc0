import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { packageRoot } from '../../infra/config/package-root.js';
import type { Environment } from '../../infra/config/read-env.js';
import { ownProgramNotice } from './child-output.js';
import type { Command } from './child-process.js';
import type { ProviderChoice } from './provider-choice.js';
import { childLogFile, childPidFile, type StackPaths } from './stack-paths.js';
import type { ChildSpec } from './supervised-child.js';

/** What our own programs must know about the running parts. */
export interface StackAddresses {
  readonly apiUrl: string;
  readonly apiHost: string;
  readonly apiPort: number;
  readonly temporalAddress: string;
  /** Base URL of the model provider, or of the scripted model server. */
  readonly providerBaseUrl: string;
}

const readyTimeoutMs = 60_000;

/** Brings the database to the current schema; ends by itself. */
export function migrationsCommand(paths: StackPaths): Command {
  return ownProgram('store/migrate-main.js', [], { DATABASE_URL_FILE: paths.databaseUrlFile });
}

/** The scripted model server. Always on the same port, since living runners know its URL. */
export function scriptedModelChild(
  paths: StackPaths,
  server: { readonly host: string; readonly port: number },
): ChildSpec {
  const { host, port } = server;
  return {
    ...ownChild(paths, 'scripted-model'),
    command: ownProgram('tools/scripted-model/main.js', ['--host', host, '--port', String(port)], {}),
    stopGraceMs: 1_500,
  };
}

/** The HTTP API. */
export function apiChild(paths: StackPaths, addresses: StackAddresses, passedOn: Environment): ChildSpec {
  const env = {
    ...passedOn,
    ...sharedSettings(paths, addresses),
    AGENTRUN_API_HOST: addresses.apiHost,
    AGENTRUN_API_PORT: String(addresses.apiPort),
    AGENTRUN_API_TOKEN_FILE: paths.apiTokenFile,
  };
  return { ...ownChild(paths, 'api'), command: ownProgram('api/main.js', [], env), stopGraceMs: 1_500 };
}

/** The Temporal worker, which launches runners as local processes unless AGENTRUN_LAUNCHER says otherwise. */
export function workerChild(
  paths: StackPaths,
  addresses: StackAddresses,
  provider: ProviderChoice,
  passedOn: Environment,
): ChildSpec {
  const env = {
    ...sharedSettings(paths, addresses),
    ...passedOn,
    ...workerMetrics(passedOn.AGENTRUN_METRICS_PORT),
    AGENTRUN_DATA_DIR: paths.dataDir,
    AGENTRUN_PROVIDER_BASE_URL: addresses.providerBaseUrl,
    AGENTRUN_PROVIDER_KEY_FILE: paths.providerKeyFile,
    AGENTRUN_MODEL: provider.model,
  };
  return { ...ownChild(paths, 'worker'), command: ownProgram('worker/main.js', [], env), stopGraceMs: 4_000 };
}

/** The API has the port itself; the worker and the Temporal SDK in it the two after it. 0: each a free one, but not the SDK's, which nobody could find. */
function workerMetrics(port: string | undefined): Environment {
  const first = Number(port ?? 0);
  if (first === 0) return {};
  return {
    AGENTRUN_METRICS_PORT: String(first + 1),
    AGENTRUN_TEMPORAL_METRICS_PORT: String(first + 2),
  };
}

function sharedSettings(paths: StackPaths, addresses: StackAddresses): Environment {
  return {
    DATABASE_URL_FILE: paths.databaseUrlFile,
    TEMPORAL_ADDRESS: addresses.temporalAddress,
    TEMPORAL_NAMESPACE: 'default',
    AGENTRUN_MGR_URL: addresses.apiUrl,
    AGENTRUN_INTERNAL_MGR_URL: addresses.apiUrl,
    AGENTRUN_RUNNER_KEYS_FILE: paths.runnerKeysFile,
    AGENTRUN_WEBHOOK_KEY_FILE: paths.webhookKeyFile,
  };
}

function ownChild(paths: StackPaths, name: 'api' | 'worker' | 'scripted-model') {
  return {
    name,
    pidFile: childPidFile(paths, name),
    logFile: childLogFile(paths, name),
    ready: 'line',
    readyTimeoutMs,
    stopSignal: 'SIGTERM',
    notice: ownProgramNotice,
  } as const;
}

function ownProgram(file: string, args: readonly string[], env: Environment): Command {
  const path = join(packageRoot(), 'dist', file);
  if (!existsSync(path)) throw new Error(`${path} is missing: run \`npm run build\``);
  return {
    file: process.execPath,
    args: ['--enable-source-maps', path, ...args],
    env: childEnvironment(env),
    cwd: packageRoot(),
  };
}
