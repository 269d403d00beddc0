import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { childEnvironment } from '../../infra/config/child-environment.js';
import { temporalNotice } from './child-output.js';
import { loopback } from './ports.js';
import { childLogFile, childPidFile, type StackPaths } from './stack-paths.js';
import type { ChildSpec } from './supervised-child.js';

/** Typed search attributes of our workflows (architecture.md 4.2). Known again at a second start: no error. */
export const searchAttributes = [
  'AgentRunTenant',
  'AgentRunProject',
  'AgentRunSession',
  'AgentRunRun',
  'AgentRunTask',
  'AgentRunState',
] as const;

/**
 * Measured in toolbox.md: write-ahead log and fewer syncs 6.6 → 30 starts a second; one task queue partition → 58; the
 * queue processors' default of 20 polls a second makes every task hop of the one-shard dev server cost 50 ms.
 */
const pragmas = ['journal_mode=wal', 'synchronous=normal'];
const dynamicConfig = [
  'matching.numTaskqueueReadPartitions=1',
  'matching.numTaskqueueWritePartitions=1',
  'history.transferProcessorMaxPollRPS=2000',
  'history.timerProcessorMaxPollRPS=2000',
];

/** The dev server must not pick up the user's own Temporal profile. */
const isolated = ['--disable-config-env', '--disable-config-file', '--color', 'never'];

/** Arguments of the dev server. */
export function temporalArguments(server: { database: string; port: number; uiPort: number }): string[] {
  const options = {
    '--ip': loopback,
    '--port': String(server.port),
    '--ui-port': String(server.uiPort),
    '--db-filename': server.database,
    '--log-level': 'warn',
  };
  return [
    'server',
    'start-dev',
    ...Object.entries(options).flat(),
    ...pragmas.flatMap((pragma) => ['--sqlite-pragma', pragma]),
    ...dynamicConfig.flatMap((value) => ['--dynamic-config-value', value]),
    ...searchAttributes.flatMap((name) => ['--search-attribute', `${name}=Keyword`]),
    ...isolated,
  ];
}

/** The dev server as a child of `up`. It listens on loopback, always: its parts find each other nowhere else (measured with 1.5.1). */
export function temporalChild(
  paths: StackPaths,
  server: { binary: string; port: number; uiPort: number },
): ChildSpec {
  const { binary, port, uiPort } = server;
  return {
    name: 'temporal',
    command: {
      file: binary,
      args: temporalArguments({ database: paths.temporalDatabase, port, uiPort }),
      env: childEnvironment(),
      cwd: paths.dataDir,
    },
    pidFile: childPidFile(paths, 'temporal'),
    logFile: childLogFile(paths, 'temporal'),
    ready: async () => await hasDefaultNamespace(binary, `${loopback}:${port}`),
    readyTimeoutMs: 60_000,
    stopSignal: 'SIGTERM',
    // A clean stop takes up to 1.5 s.
    stopGraceMs: 2_500,
    notice: temporalNotice,
  };
}

/** The server answers, and the namespace in which everything happens is there. */
async function hasDefaultNamespace(binary: string, address: string): Promise<boolean> {
  const args = [
    'operator',
    'namespace',
    'describe',
    '-n',
    'default',
    '--address',
    address,
    '--command-timeout',
    '2s',
  ];
  try {
    await promisify(execFile)(binary, [...args, ...isolated], { env: childEnvironment(), timeout: 5_000 });
    return true;
  } catch {
    return false;
  }
}
