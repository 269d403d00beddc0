import { chmodSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** The programs that `up` runs, in the order in which leftovers of a dead `up` are stopped. */
export const childNames = ['api', 'worker', 'scripted-model', 'temporal', 'postgres'] as const;

export type ChildName = (typeof childNames)[number];

/** Where everything of a local stack lies. */
export interface StackPaths {
  readonly dataDir: string;
  readonly postgresDir: string;
  readonly temporalDatabase: string;
  readonly databaseUrlFile: string;
  readonly apiTokenFile: string;
  readonly runnerKeysFile: string;
  readonly webhookKeyFile: string;
  readonly providerKeyFile: string;
  readonly stackFile: string;
  readonly processesDir: string;
  readonly logsDir: string;
  readonly runnersDir: string;
}

/** The paths inside a data folder; creates nothing. */
export function stackPaths(dataDir: string): StackPaths {
  const inside = (...names: string[]) => join(dataDir, ...names);
  return {
    dataDir,
    postgresDir: inside('postgres'),
    temporalDatabase: inside('temporal', 'temporal.db'),
    databaseUrlFile: inside('secrets', 'database-url'),
    apiTokenFile: inside('secrets', 'api-token'),
    runnerKeysFile: inside('secrets', 'runner-keys.json'),
    webhookKeyFile: inside('secrets', 'webhook-key'),
    providerKeyFile: inside('secrets', 'provider-key'),
    stackFile: inside('stack.json'),
    processesDir: inside('processes'),
    logsDir: inside('logs'),
    runnersDir: inside('runners'),
  };
}

/** Creates the folders that do not exist yet. All are the owner's alone but the outermost, which a postgres user must
 * be able to pass through when `up` runs as root. */
export function createStackFolders(paths: StackPaths): void {
  if (!existsSync(paths.dataDir)) {
    mkdirSync(paths.dataDir, { recursive: true });
    chmodSync(paths.dataDir, 0o711);
  }
  for (const name of ['temporal', 'secrets', 'processes', 'logs', 'runners', 'sessions']) {
    mkdirSync(join(paths.dataDir, name), { recursive: true, mode: 0o700 });
  }
}

/** Pid file of one of the children. */
export function childPidFile(paths: StackPaths, name: ChildName): string {
  return join(paths.processesDir, `${name}.json`);
}

/** Log file of one of the children, or of the migrations. */
export function childLogFile(paths: StackPaths, name: ChildName | 'migrations'): string {
  return join(paths.logsDir, `${name}.log`);
}
