import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A data folder for one test file, which the system user `postgres` can reach when the tests run as root. */
export function makeDataFolder(): { path: string; remove: () => void } {
  const outer = mkdtempSync(join(tmpdir(), 'agentrun-test-'));
  chmodSync(outer, 0o711);
  return { path: join(outer, '.agentrun'), remove: () => rmSync(outer, { recursive: true, force: true }) };
}
