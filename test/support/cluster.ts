import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiException } from '@kubernetes/client-node';
import { afterAll } from 'vitest';
import { type Cluster, connectCluster } from '../../infra/kubernetes/cluster.js';
import { clusterUp, runningCluster } from '../cluster/cluster.js';
import {
  killContainers,
  type NodeContainer,
  startApiServer,
  startKubelet,
  stopApiServer,
  stopKubelet,
} from '../cluster/faults.js';
import { importImage } from '../cluster/images.js';
import { type ClusterLayout, defaultClusterFolder } from '../cluster/layout.js';

/** A real cluster, as tests use it. */
export interface TestCluster {
  /** Path of a file with all rights. */
  readonly kubeconfig: string;
  /** Under which pods reach programs of this machine; these listen on it, or on 0.0.0.0. */
  readonly hostAddress: string;
  /** What only a cluster of test/cluster can do; undefined for one that somebody else runs. */
  readonly own: OwnCluster | undefined;
  /** A namespace of `PREFIX-random` that was never used; removed with all that is in it after the file's last test. */
  makeNamespace(prefix: string, labels?: Readonly<Record<string, string>>): Promise<Cluster>;
}

/** Faults and images of a cluster that stands on this machine. */
export interface OwnCluster {
  readonly layout: ClusterLayout;
  /** A fixed address for a Service, `number` 2 to 16: the API server gives these to nobody by itself. */
  serviceAddress(number: number): string;
  /** Gives the node the images of a docker-archive or OCI archive. */
  importImage(archive: string): Promise<void>;
  stopKubelet(): Promise<void>;
  /** Returns when the node is ready. */
  startKubelet(): Promise<void>;
  /** As in a crash. */
  stopApiServer(): Promise<void>;
  /** Returns when it is ready. */
  startApiServer(): Promise<void>;
  /** Kills all containers of a pod, or the named ones, also while no kubelet runs. */
  killContainers(
    pod: { readonly namespace: string; readonly name: string },
    names?: readonly string[],
  ): Promise<NodeContainer[]>;
}

/**
 * The cluster that `KUBECONFIG` names, else the one of `folder`, which is started when it is not up and stays up. Awaited at the top of a test file.
 *
 * @throws Error when none is given and this user cannot start one.
 */
export async function useCluster(folder: string = defaultClusterFolder): Promise<TestCluster> {
  const namespaces: Cluster[] = [];
  afterAll(async () => {
    await Promise.all(namespaces.map(removeNamespace));
  }, removeTimeoutMs + 20_000);
  const given = process.env.KUBECONFIG;
  const layout =
    given === undefined
      ? (runningCluster(folder) ?? (await clusterUp(folder, console.log)))
      : givenCluster(given);
  const kubeconfig = given ?? layout?.kubeconfig ?? '';
  return {
    kubeconfig,
    get hostAddress() {
      const address = layout?.hostAddress ?? process.env.AGENTRUN_TEST_HOST_ADDRESS;
      if (address !== undefined) return address;
      throw new Error('AGENTRUN_TEST_HOST_ADDRESS must say where pods of this cluster reach this machine');
    },
    own: layout === undefined ? undefined : ownCluster(layout),
    makeNamespace: async (prefix, labels = {}) => {
      const name = `${prefix}-${randomBytes(4).toString('hex')}`;
      const cluster = connectCluster({ namespace: name, kubeconfig });
      await cluster.core.createNamespace({ body: { metadata: { name, labels: { ...labels } } } });
      namespaces.push(cluster);
      return cluster;
    },
  };
}

/** `KUBECONFIG` may name one of ours, which then can do all that ours can. */
function givenCluster(kubeconfig: string): ClusterLayout | undefined {
  const layout = runningCluster(dirname(kubeconfig));
  return layout?.kubeconfig === kubeconfig ? layout : undefined;
}

function ownCluster(layout: ClusterLayout): OwnCluster {
  return {
    layout,
    serviceAddress: (number) => {
      if (!(number >= 2 && number <= 16)) throw new Error(`${number} is no fixed address: 2 to 16 are`);
      return layout.serviceRange.replace(/0\/24$/, String(number));
    },
    importImage: (archive) => importImage(layout, archive),
    stopKubelet: () => stopKubelet(layout),
    startKubelet: () => startKubelet(layout),
    stopApiServer: () => stopApiServer(layout),
    startApiServer: () => startApiServer(layout),
    killContainers: (pod, names) => killContainers(layout, pod, names),
  };
}

const removeTimeoutMs = 60_000;

async function removeNamespace({ core, namespace }: Cluster): Promise<void> {
  // Nobody waits for the last words of a test's pods.
  await core.deleteCollectionNamespacedPod({ namespace, gracePeriodSeconds: 0 });
  await core.deleteNamespace({ name: namespace });
  const deadline = Date.now() + removeTimeoutMs;
  for (;;) {
    try {
      await core.readNamespace({ name: namespace });
    } catch (error) {
      if (error instanceof ApiException && error.code === 404) return;
      throw error;
    }
    if (Date.now() > deadline)
      throw new Error(`namespace ${namespace} is not gone after ${removeTimeoutMs} ms`);
    await sleep(250);
  }
}
