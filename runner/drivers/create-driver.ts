import type { DriverCapabilities } from '../../contract/runners.js';
import { codexCapabilities } from './codex/codex-capabilities.js';
import { CodexDriver } from './codex/codex-driver.js';
import { CommandDriver, commandCapabilities } from './command/command-driver.js';
import type { AgentDriver, DriverContext } from './driver.js';

/** Version of the runner as told in `register`. */
export const runnerVersion = '0.1.0';

interface DriverKind {
  readonly capabilities: DriverCapabilities;
  readonly create: (context: DriverContext) => AgentDriver;
}

const kinds: Readonly<Record<string, DriverKind>> = {
  codex: { capabilities: codexCapabilities, create: (context) => new CodexDriver(context) },
  command: { capabilities: commandCapabilities, create: (context) => new CommandDriver(context) },
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
