import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { z } from 'zod';
import { imageReasons } from '../../domain/kubernetes/pod-fate.js';
import type { PodOptions } from '../../domain/kubernetes/pod-options.js';
import { type ProbeManifest, probeManifest } from '../../domain/kubernetes/probe-manifest.js';
import type { KubernetesSettings } from '../config/kubernetes-settings.js';
import { isRefused, reasonOf } from '../kubernetes/api-errors.js';
import type { Cluster } from '../kubernetes/cluster.js';

const lookEveryMs = 300;

const saidSchema = z.object({ programs: z.boolean(), key: z.string(), api: z.string() });

/** What became of a pod of the runner's kind. `message` is the cluster's word. */
export type ProbeEnd =
  /** It ran: whether it found the runner's programs, the provider's key (`ok`, `empty` or an error's code), and what the API's address answered. */
  | ({ readonly kind: 'ran' } & z.output<typeof saidSchema>)
  | { readonly kind: 'refused' | 'image' | 'mount' | 'broken' | 'late'; readonly message: string };

/**
 * Runs a short Job with the image, the placement and the provider's Secret of runners, and takes it away again.
 *
 * @param options.limitMs how long it may take.
 */
export async function runProbe(
  cluster: Cluster,
  options: {
    readonly settings: KubernetesSettings;
    readonly pod: PodOptions;
    readonly apiUrl: string;
    readonly limitMs: number;
  },
): Promise<ProbeEnd> {
  const { namespace } = cluster;
  const name = `agentrun-doctor-${randomBytes(5).toString('hex')}`;
  try {
    await cluster.batch.createNamespacedJob({ namespace, body: manifest(name, namespace, options) });
  } catch (error) {
    if (isRefused(error)) return { kind: 'refused', message: reasonOf(error) };
    throw new Error(reasonOf(error));
  }
  try {
    return await endOf(cluster, name, Date.now() + options.limitMs);
  } finally {
    // What stays because of an error here is removed by its own time to live.
    await cluster.batch
      .deleteNamespacedJob({ namespace, name, propagationPolicy: 'Background' })
      .catch(() => undefined);
  }
}

function manifest(
  name: string,
  namespace: string,
  { settings, pod, apiUrl }: Parameters<typeof runProbe>[1],
): ProbeManifest {
  const { image, imagePullPolicy, serviceAccount, healthPort, providerSecret } = settings;
  const origin = { lane: undefined, environment: undefined, sourceCommit: undefined };
  const runner = { image, imagePullPolicy, serviceAccount, healthPort, providerSecret, logLevel: 'info' };
  return probeManifest({ name, namespace, ...runner, origin, pod }, apiUrl);
}

async function endOf(cluster: Cluster, job: string, deadlineMs: number): Promise<ProbeEnd> {
  let waitsFor = 'no pod was made';
  while (Date.now() < deadlineMs) {
    const { items } = await cluster.core.listNamespacedPod({
      namespace: cluster.namespace,
      labelSelector: `batch.kubernetes.io/job-name=${job}`,
    });
    const [pod] = items;
    const status = pod?.status?.containerStatuses?.[0];
    const end = endOfContainer(status);
    if (end !== undefined) return end;
    const said = await wordsAbout(cluster, pod?.metadata?.name ?? job);
    if (pod === undefined && said.FailedCreate !== undefined)
      return { kind: 'refused', message: said.FailedCreate };
    if (said.FailedMount !== undefined) return { kind: 'mount', message: said.FailedMount };
    waitsFor = said.FailedScheduling ?? waitingReason(pod, status) ?? waitsFor;
    await sleep(lookEveryMs);
  }
  return { kind: 'late', message: waitsFor };
}

function endOfContainer(status: V1ContainerStatus | undefined): ProbeEnd | undefined {
  const waiting = status?.state?.waiting;
  if (imageReasons.has(waiting?.reason ?? ''))
    return { kind: 'image', message: waiting?.message ?? waiting?.reason ?? '' };
  if (waiting?.reason?.startsWith('Create') === true)
    return { kind: 'broken', message: `${waiting.reason}: ${waiting.message ?? ''}` };
  const ended = status?.state?.terminated;
  if (ended === undefined) return undefined;
  const said = saidSchema.safeParse(parsed(ended.message ?? ''));
  return said.success
    ? { kind: 'ran', ...said.data }
    : { kind: 'broken', message: `exit code ${ended.exitCode}: ${ended.message ?? ended.reason ?? ''}` };
}

const waitingReason = (pod: V1Pod | undefined, status: V1ContainerStatus | undefined): string | undefined =>
  status?.state?.waiting?.reason ?? (pod === undefined ? undefined : `the pod is ${pod.status?.phase}`);

/** The latest message of each kind of event about an object. */
async function wordsAbout(cluster: Cluster, name: string): Promise<Record<string, string>> {
  const { items } = await cluster.core.listNamespacedEvent({
    namespace: cluster.namespace,
    fieldSelector: `involvedObject.name=${name}`,
  });
  return Object.fromEntries(items.map(({ reason, message }) => [reason ?? '', message ?? '']));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
