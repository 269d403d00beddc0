import { createHash } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';

const projectFolder = resolve(import.meta.dirname, '../..');

/** Where a cluster's state is when nobody names another folder. */
export const defaultClusterFolder = join(projectFolder, '.cluster');

/** Everything about one test cluster that others have to know, as `cluster.json` in its folder. */
export const clusterLayoutSchema = z.object({
  /** Absolute. Several clusters stand side by side, each in a folder of its own. */
  folder: z.string(),
  /** Name of its network interface on this machine and of its control groups: at most 15 characters. */
  name: z.string(),
  /** Where pods and the node reach programs of this machine. */
  hostAddress: z.string(),
  /** Where this machine and pods reach the API server, and the node's own address. */
  nodeAddress: z.string(),
  bridgeAddress: z.string(),
  podRange: z.string(),
  /** Addresses of Services. The first 16 are never given out by the API server: fixed ones are taken from these. */
  serviceRange: z.string(),
  apiUrl: z.string(),
  kubeconfig: z.string(),
  kubectl: z.string(),
  containerdAddress: z.string(),
});
export type ClusterLayout = z.infer<typeof clusterLayoutSchema>;

/** How many clusters can stand side by side: each has a network 10.X.0.0/16 with X from here on. */
const firstBlock = 192;
const blocks = 60;

/** The layout for a folder: its addresses follow from the path; when another cluster has these already, the next free ones are taken. */
export function chooseLayout(folderPath: string, isTaken = isInUse): ClusterLayout {
  const folder = resolve(folderPath);
  const hash = createHash('sha256').update(folder).digest();
  const wanted = hash.readUInt16BE(0);
  for (let tried = 0; tried < blocks; tried += 1) {
    const network = `10.${firstBlock + ((wanted + tried) % blocks)}`;
    if (!isTaken(network)) return layoutOf(folder, interfaceName(folder), network);
  }
  throw new Error(
    'all networks of test clusters are in use: npm run cluster:down in the folders that have one',
  );
}

/** Name of the network interface and the control groups of the cluster in this folder. */
export function interfaceName(folder: string): string {
  return `ar-${createHash('sha256').update(folder).digest('hex').slice(0, 8)}`;
}

function layoutOf(folder: string, name: string, network: string): ClusterLayout {
  return {
    folder,
    name,
    hostAddress: `${network}.0.1`,
    nodeAddress: `${network}.0.2`,
    bridgeAddress: `${network}.1.1`,
    podRange: `${network}.1.0/24`,
    serviceRange: `${network}.2.0/24`,
    apiUrl: `https://${network}.0.2:6443`,
    kubeconfig: join(folder, 'admin.kubeconfig'),
    kubectl: join(folder, 'kubectl'),
    containerdAddress: join(folder, 'containerd.sock'),
  };
}

function isInUse(network: string): boolean {
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some(({ address }) => address.startsWith(`${network}.`)),
  );
}
