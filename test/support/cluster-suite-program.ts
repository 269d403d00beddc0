// Runs the tests that need a real cluster: `KUBECONFIG` names one, else one is started in .cluster and ended again when it was not up before.
// Arguments as those of long-suite-program.ts. Without a cluster and without the rights to start one the suite is reported as not run.
import { spawn } from 'node:child_process';
import { clusterDown, clusterUp, runningCluster } from '../cluster/cluster.js';
import { defaultClusterFolder } from '../cluster/layout.js';

const isGiven = process.env.KUBECONFIG !== undefined || runningCluster(defaultClusterFolder) !== undefined;
if (!isGiven && process.getuid?.() !== 0) {
  console.log('cluster: not run: a test cluster needs root, and KUBECONFIG names no other');
  process.exit(0);
}
if (!isGiven) await clusterUp(defaultClusterFolder, console.log);
let exitCode = 1;
try {
  exitCode = await runSuite(process.argv.slice(2));
} finally {
  if (!isGiven) await clusterDown(defaultClusterFolder);
}
process.exit(exitCode);

async function runSuite(args: readonly string[]): Promise<number> {
  const suite = spawn('node_modules/.bin/tsx', ['test/support/long-suite-program.ts', 'cluster', ...args], {
    stdio: 'inherit',
  });
  // Ctrl-C reaches the suite as well: this program stays to take the cluster down.
  process.on('SIGINT', () => undefined);
  process.on('SIGTERM', () => suite.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    suite.once('error', reject);
    suite.once('exit', (code) => resolve(code ?? 1));
  });
}
