// A one-node Kubernetes for tests, without Docker: npm run cluster:up, npm run cluster:down. As root.
// AGENTRUN_CLUSTER_FOLDER names another folder than .cluster: clusters in different folders stand side by side.
import { resolve } from 'node:path';
import { clusterDown, clusterUp } from './cluster.js';
import { defaultClusterFolder } from './layout.js';

const folder = resolve(process.env.AGENTRUN_CLUSTER_FOLDER ?? defaultClusterFolder);
const [command] = process.argv.slice(2);
try {
  if (command === 'up') await clusterUp(folder, console.log);
  else if (command === 'down') await clusterDown(folder);
  else throw new Error('usage: main.ts up|down');
} catch (error) {
  console.error(error);
  process.exit(1);
}
