import { readFileSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { endProcessGroup } from '../../infra/processes/process-group.js';
import { readProcessIdentity } from '../../infra/processes/process-identity.js';

/** What Postgres writes about itself into its data folder while it runs. */
export interface PostmasterFile {
  readonly pid: number;
  readonly port: number | undefined;
  /** `starting`, `ready`, `stopping` or `standby`. */
  readonly status: string;
}

/** Parses `postmaster.pid`: pid, folder, start, port, socket folder, address, shared memory, status, a line each. */
export function parsePostmasterFile(text: string): PostmasterFile | undefined {
  const lines = text.split('\n').map((line) => line.trim());
  const pid = Number(lines[0]);
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined;
  const port = Number(lines[3]);
  return {
    pid,
    port: Number.isSafeInteger(port) && port > 0 ? port : undefined,
    status: lines[7] ?? 'starting',
  };
}

/** The file of this data folder; undefined when no server has it. */
export function readPostmasterFile(dataDir: string): PostmasterFile | undefined {
  try {
    return parsePostmasterFile(readFileSync(join(dataDir, 'postmaster.pid'), 'utf8'));
  } catch {
    return undefined;
  }
}

/**
 * Makes the data folder free for a new server: a server that a killed `up` left behind is stopped, and a file whose
 * pid now belongs to another program is removed, since Postgres would refuse to start because of it.
 */
export async function releaseDataFolder(dataDir: string, log: (line: string) => void): Promise<void> {
  const found = readPostmasterFile(dataDir);
  if (found === undefined) return;
  const identity = readProcessIdentity(found.pid);
  if (identity !== undefined && worksIn(found.pid, dataDir)) {
    log(`stopping a Postgres server (pid ${found.pid}) that an earlier start left behind`);
    await endProcessGroup(identity, { signal: 'SIGINT', graceMs: 5_000 });
    return;
  }
  if (identity !== undefined) rmSync(join(dataDir, 'postmaster.pid'), { force: true });
}

/** A Postgres server's working folder is its data folder. */
function worksIn(pid: number, dataDir: string): boolean {
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === realpathSync(dataDir);
  } catch {
    return false;
  }
}
