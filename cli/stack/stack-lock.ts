import { linkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { readPidFile, removePidFile, writePidFile } from '../../infra/processes/pid-file.js';
import {
  isSameProcessAlive,
  type ProcessIdentity,
  readProcessIdentity,
} from '../../infra/processes/process-identity.js';
import type { StackPaths } from './stack-paths.js';

/** One `up` per data folder: this file names the process that owns it. */
export function stackLockFile(paths: StackPaths): string {
  return join(paths.processesDir, 'up.json');
}

export type LockResult =
  | { readonly kind: 'acquired'; readonly release: () => void }
  | { readonly kind: 'held'; readonly owner: ProcessIdentity };

/**
 * Takes a lock that dies with its owner: a pid file whose process is dead counts for nothing. Used for the data folder
 * and for the build of the Temporal server.
 */
export function acquireLock(lockFile: string): LockResult {
  const self = readProcessIdentity(process.pid);
  if (self === undefined) throw new Error('/proc is not readable: `agentrun up` needs Linux');
  const candidate = `${lockFile}.${process.pid}`;
  // A link is made or refused in one step, so two starts at the same moment cannot both succeed.
  for (let attempt = 1; attempt <= 5; attempt += 1) {
    writePidFile(candidate, self, { name: 'up' });
    try {
      linkSync(candidate, lockFile);
      return { kind: 'acquired', release: () => releaseLock(lockFile, self) };
    } catch (error) {
      if (!isErrorCode(error, 'EEXIST')) throw error;
    } finally {
      rmSync(candidate, { force: true });
    }
    const owner = readPidFile(lockFile);
    if (owner !== undefined && isSameProcessAlive(owner)) return { kind: 'held', owner };
    removePidFile(lockFile);
  }
  throw new Error(`the lock ${lockFile} cannot be taken: other processes keep taking and leaving it`);
}

function releaseLock(lockFile: string, self: ProcessIdentity): void {
  const owner = readPidFile(lockFile);
  if (owner?.pid === self.pid && owner.startTime === self.startTime) removePidFile(lockFile);
}

function isErrorCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
