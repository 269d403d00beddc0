import { backendCapabilities } from '../../contract/backends.js';
import type { DriverCapabilities } from '../../contract/runners.js';
import { CodexDriver } from './codex/codex-driver.js';
import { CommandDriver } from './command/command-driver.js';
import type { AgentDriver, DriverContext } from './driver.js';

/** Version of the runner as told in `register`. */
export const runnerVersion = '0.1.0';

interface DriverKind {
  readonly capabilities: DriverCapabilities;
  readonly create: (context: DriverContext) => AgentDriver;
}

const kinds: Readonly<Record<string, DriverKind>> = {
  codex: { capabilities: backendCapabilities.codex, create: (context) => new CodexDriver(context) },
  command: { capabilities: backendCapabilities.command, create: (context) => new CommandDriver(context) },
};

/**
 * The kind of driver of a backend profile.
 *
 * @throws Error for a profile without one.
 */
export function driverKind(backendProfile: string): DriverKind {
  const kind = kinds[backendProfile];
  if (kind === undefined) throw new Error(`no driver for the backend profile ${backendProfile}`);
  return kind;
}
