import { z } from 'zod';
import { waitForApiServer, waitForNode } from './cluster.js';
import { run } from './commands.js';
import { startComponent } from './components.js';
import type { ClusterLayout } from './layout.js';
import { stopInNode } from './node-namespaces.js';

/** The kubelet falls silent; containers go on. After 10 s the node counts as lost. */
export async function stopKubelet({ folder }: ClusterLayout): Promise<void> {
  await stopInNode(folder, 'kubelet', 0);
}

/** Returns when the node is ready again. */
export async function startKubelet(layout: ClusterLayout): Promise<void> {
  const startedAtMs = Date.now();
  startComponent('kubelet', layout);
  await waitForNode(layout, startedAtMs);
}

/** The API server ends as in a crash: connections break, nothing is drained. */
export async function stopApiServer({ folder }: ClusterLayout): Promise<void> {
  await stopInNode(folder, 'kube-apiserver', 0);
}

/** Returns when it says that it is ready. */
export async function startApiServer(layout: ClusterLayout): Promise<void> {
  startComponent('kube-apiserver', layout);
  await waitForApiServer(layout);
}

/** A container as the node knows it, also while no kubelet runs. */
export interface NodeContainer {
  readonly id: string;
  /** Its name in the pod; undefined for the one that holds the pod's namespaces. */
  readonly name: string | undefined;
}

/** Kills what runs of a pod (or only the named containers) behind Kubernetes' back. Returns the containers that were killed. */
export async function killContainers(
  layout: ClusterLayout,
  pod: { readonly namespace: string; readonly name: string },
  names?: readonly string[],
): Promise<NodeContainer[]> {
  const running = await runningTasks(layout);
  const containers = (await podContainers(layout, pod)).filter(
    ({ id, name }) =>
      running.has(id) && (names === undefined || (name !== undefined && names.includes(name))),
  );
  for (const { id } of containers)
    await containerd(layout, ['tasks', 'kill', '--signal', 'SIGKILL', id]).catch((error: unknown) => {
      // It ended by itself: containers of a runner end each other.
      if (!String(error).includes('not found')) throw error;
    });
  return containers;
}

const containerInfo = z.object({ Labels: z.record(z.string(), z.string()).nullish() });

async function podContainers(
  layout: ClusterLayout,
  pod: { readonly namespace: string; readonly name: string },
): Promise<NodeContainer[]> {
  const label = (name: string, value: string) => `labels."io.kubernetes.pod.${name}"==${value}`;
  const filter = `${label('namespace', pod.namespace)},${label('name', pod.name)}`;
  const ids = (await containerd(layout, ['containers', 'list', '--quiet', filter]))
    .split('\n')
    .filter(Boolean);
  return Promise.all(
    ids.map(async (id) => {
      const info = containerInfo.parse(JSON.parse(await containerd(layout, ['containers', 'info', id])));
      return { id, name: info.Labels?.['io.kubernetes.container.name'] };
    }),
  );
}

async function runningTasks(layout: ClusterLayout): Promise<Set<string>> {
  const lines = (await containerd(layout, ['tasks', 'list']))
    .split('\n')
    .map((line) => line.trim().split(/\s+/));
  return new Set(lines.filter(([, , status]) => status === 'RUNNING').map(([id = '']) => id));
}

async function containerd({ containerdAddress }: ClusterLayout, args: readonly string[]): Promise<string> {
  return run('ctr', ['--address', containerdAddress, '--namespace', 'k8s.io', ...args]);
}
