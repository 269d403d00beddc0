import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findTemporalBinary } from '../../cli/stack/temporal-binary.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { readStackConfig } from '../../infra/config/stack-config.js';

/** Finds the Temporal server once, before any test's clock runs: the first time on a machine it has to be built. */
export async function setup(): Promise<void> {
  const config = readStackConfig();
  const logFile = join(packageRoot(), '.reports', 'temporal-build.log');
  mkdirSync(dirname(logFile), { recursive: true });
  process.env.TEMPORAL_CLI_PATH = await findTemporalBinary({
    cliPath: config.temporalCliPath,
    searchPath: config.searchPath,
    cacheDir: config.cacheDir,
    logFile,
    log: (line) => console.log(line),
  });
}
