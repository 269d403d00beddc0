import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  ApiException,
  CoordinationV1Api,
  CoreV1Api,
  KubeConfig,
  StorageV1Api,
} from '@kubernetes/client-node';
import { z } from 'zod';
import { kubernetesBinary } from './binary.js';
import { makeCertificates } from './certificates.js';
import { run } from './commands.js';
import { nodeName, startComponent } from './components.js';
import { writeConfiguration } from './configuration.js';
import { makeControlGroup, removeControlGroup } from './control-groups.js';
import { importImage } from './images.js';
import { type ClusterLayout, chooseLayout, clusterLayoutSchema, interfaceName } from './layout.js';
import { endNode, makeNode, nodeProcess } from './node-namespaces.js';
import { installPackages } from './packages.js';
import { writePauseImage } from './pause-image.js';

/** Starts a cluster in the folder; one that is there, or what is left of it, is taken down before. Needs root. */
export async function clusterUp(folder: string, log: (line: string) => void): Promise<ClusterLayout> {
  if (process.getuid?.() !== 0)
    throw new Error('a test cluster needs root; or name another one in KUBECONFIG');
  await installPackages(log);
  const binary = await kubernetesBinary(log);
  await clusterDown(folder);
  const startedAtMs = Date.now();
  const layout = chooseLayout(folder);
  mkdirSync(join(layout.folder, 'logs'), { recursive: true, mode: 0o700 });
  makeControlGroup(layout.name);
  await makeNode(layout);
  await Promise.all([
    makeCertificates(layout),
    writePauseImage(join(layout.folder, 'pause.tar'), layout.folder),
  ]);
  writeConfiguration(layout, binary);
  for (const component of ['etcd', 'containerd', 'kube-apiserver'] as const)
    startComponent(component, layout);
  await Promise.all([
    until('containerd', layout, () => importImage(layout, join(layout.folder, 'pause.tar'))),
    waitForApiServer(layout),
  ]);
  for (const component of ['kube-controller-manager', 'kube-scheduler', 'kubelet', 'kube-proxy'] as const) {
    startComponent(component, layout);
  }
  await makeStorageClass(layout);
  await waitForNode(layout, startedAtMs);
  writeFileSync(layoutFile(layout.folder), `${JSON.stringify(layout, null, 2)}\n`);
  const seconds = ((Date.now() - startedAtMs) / 1_000).toFixed(1);
  log(`the cluster is up after ${seconds} s: export KUBECONFIG=${layout.kubeconfig}`);
  return layout;
}

/** Ends the cluster of the folder with all that it left on this machine. Safe to repeat. */
export async function clusterDown(folderPath: string): Promise<void> {
  const folder = resolve(folderPath);
  await endNode(folder);
  const name = interfaceName(folder);
  // The kernel removes it with the node, but only some time later.
  if (existsSync(`/sys/class/net/${name}`)) await run('ip', ['link', 'delete', name]).catch(() => undefined);
  await removeControlGroup(name);
  rmSync(folder, { recursive: true, force: true });
}

/** The cluster that runs in the folder; undefined when none does, or one that did not come up. */
export function runningCluster(folder: string): ClusterLayout | undefined {
  const file = layoutFile(resolve(folder));
  if (!existsSync(file) || nodeProcess(resolve(folder)) === undefined) return undefined;
  return clusterLayoutSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
}

function layoutFile(folder: string): string {
  return join(folder, 'cluster.json');
}

/** Returns when the API server answers that it is ready. */
export async function waitForApiServer(layout: ClusterLayout): Promise<void> {
  const ca = readFileSync(join(layout.folder, 'pki/ca.crt'));
  await until('kube-apiserver', layout, () => readyz(`${layout.apiUrl}/readyz`, ca));
}

/** The client library has no call for this. */
async function readyz(url: string, ca: Buffer): Promise<void> {
  await new Promise<void>((done, fail) => {
    const request = get(url, { ca, timeout: 5_000, agent: false }, (response) => {
      response.resume();
      if (response.statusCode === 200) done();
      else fail(new Error(`${url} answers ${response.statusCode}`));
    });
    request.on('timeout', () => request.destroy(new Error(`${url} does not answer`)));
    request.on('error', fail);
  });
}

/** Returns when the kubelet has said after `sinceMs` that it lives, and that pods may come. */
export async function waitForNode(layout: ClusterLayout, sinceMs: number): Promise<void> {
  const config = clientOf(layout);
  const core = config.makeApiClient(CoreV1Api);
  const leases = config.makeApiClient(CoordinationV1Api);
  await until('kubelet', layout, async () => {
    const lease = await leases.readNamespacedLease({ namespace: 'kube-node-lease', name: nodeName });
    // The library gives times of this precision as text.
    const renewedAt = z.coerce.date().parse(lease.spec?.renewTime);
    if (renewedAt.getTime() < sinceMs) throw new Error('the kubelet says nothing');
    const node = await core.readNode({ name: nodeName });
    const ready = node.status?.conditions?.find(({ type }) => type === 'Ready');
    if (ready?.status !== 'True') throw new Error(`the node is not ready: ${ready?.message ?? 'no status'}`);
    // Without it no pod of this namespace is accepted.
    await core.readNamespacedServiceAccount({ namespace: 'default', name: 'default' });
  });
}

async function makeStorageClass(layout: ClusterLayout): Promise<void> {
  const storage = clientOf(layout).makeApiClient(StorageV1Api);
  await until('kube-apiserver', layout, async () => {
    await storage
      .createStorageClass({
        body: {
          metadata: {
            name: 'host-path',
            annotations: { 'storageclass.kubernetes.io/is-default-class': 'true' },
          },
          provisioner: 'kubernetes.io/host-path',
        },
      })
      .catch((error: unknown) => {
        if (!(error instanceof ApiException && error.code === 409)) throw error;
      });
  });
}

function clientOf(layout: ClusterLayout): KubeConfig {
  const config = new KubeConfig();
  config.loadFromFile(layout.kubeconfig);
  return config;
}

const startTimeoutMs = 90_000;

/** @throws Error that names the program's log when it does not do `attempt` in time. */
async function until(
  program: string,
  { folder }: ClusterLayout,
  attempt: () => Promise<void>,
): Promise<void> {
  const deadline = Date.now() + startTimeoutMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) {
        throw new Error(`${program} did not start in ${startTimeoutMs} ms: see ${folder}/logs/${program}`, {
          cause: error,
        });
      }
    }
    await sleep(100);
  }
}
