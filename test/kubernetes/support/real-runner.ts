import type { V1Pod } from '@kubernetes/client-node';
import { expect } from 'vitest';
import type { LaunchSpec, PrepareSpec } from '../../../contract/runners.js';
import { jobManifest } from '../../../domain/kubernetes/job-manifest.js';
import { launchSecretManifest } from '../../../domain/kubernetes/launch-secret.js';
import { podLayout } from '../../../domain/kubernetes/pod-layout.js';
import { defaultPodOptions } from '../../../domain/kubernetes/pod-options.js';
import type { Cluster } from '../../../infra/kubernetes/cluster.js';

const { containers, paths, providerSecretKey } = podLayout;
const volumeClaim = 'session-volume';
const providerSecret = 'agentrun-provider';

/** What a test says about one runner; the rest is as the launcher has it. */
export interface RealRunner {
  readonly name: string;
  readonly image: string;
  readonly runId: string;
  readonly managerUrl: string;
  readonly launchToken: string;
  readonly workspace?: PrepareSpec['workspace'];
  /** Limit of the agent's container. */
  readonly agentMemory?: string;
}

/** What every runner of the namespace needs: a volume and the provider's key. */
export async function makeVolumeAndKey({ core, namespace }: Cluster, key: string): Promise<void> {
  await core.createNamespacedPersistentVolumeClaim({
    namespace,
    body: {
      metadata: { name: volumeClaim },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    },
  });
  await core.createNamespacedSecret({
    namespace,
    body: { metadata: { name: providerSecret }, stringData: { [providerSecretKey]: key } },
  });
}

/** Makes Secret and Job of a runner whose agent is a shell: the real manifest, image and programs. */
export async function startRealRunner(cluster: Cluster, runner: RealRunner): Promise<void> {
  const { namespace, core, batch } = cluster;
  const launch: LaunchSpec = {
    jobId: 'job_00000000000000000000000000',
    jobName: runner.name,
    runId: runner.runId,
    epoch: 1,
    sessionId: 'session',
    backendProfile: 'command',
    managerUrl: runner.managerUrl,
    managerUrlVariable: 'AGENTRUN_INTERNAL_MGR_URL',
    launchToken: runner.launchToken,
    agentHostSocket: paths.socket,
    workspaceDirectory: paths.workspace,
    agentHomeDirectory: paths.agentHome,
    supervisorDirectory: paths.supervisor,
    provider: { baseUrl: 'http://127.0.0.1:9/v1', model: 'm', keyFile: paths.providerKeyFile },
    leaseMs: 60_000,
    traceparent: null,
    telemetry: { otlpEndpoint: null },
    measuredDirectory: paths.agent,
  };
  const prepare: PrepareSpec = {
    sessionId: 'session',
    workspace: runner.workspace ?? null,
    defaultRepository: null,
  };
  await core.createNamespacedSecret({
    namespace,
    body: launchSecretManifest({
      name: runner.name,
      namespace,
      labels: {},
      launch: JSON.stringify(launch),
      prepare: JSON.stringify(prepare),
    }),
  });
  await batch.createNamespacedJob({
    namespace,
    body: jobManifest({
      name: runner.name,
      namespace,
      image: runner.image,
      imagePullPolicy: 'IfNotPresent',
      serviceAccount: 'default',
      healthPort: 8_181,
      providerSecret,
      volumeClaim,
      runId: runner.runId,
      epoch: 1,
      sessionId: 'session',
      tenantId: 'tenant',
      logLevel: 'info',
      lifeMs: 3_600_000,
      origin: { lane: undefined, environment: undefined, sourceCommit: undefined },
      pod: {
        ...defaultPodOptions,
        resources: {
          prepare: resources('256Mi'),
          agentHost: resources(runner.agentMemory ?? '512Mi'),
          supervisor: resources('512Mi'),
        },
        terminationGraceSeconds: 12,
      },
    }),
  });
}

/** Many of them fit on the one small node that tests have. */
const resources = (memory: string) => ({
  requests: { cpu: '10m', memory: '64Mi', 'ephemeral-storage': '16Mi' },
  limits: { cpu: '2', memory, 'ephemeral-storage': '256Mi' },
});

/** The pod of a Job, once it fits. */
export async function podOf(
  { core, namespace }: Cluster,
  name: string,
  fits: (pod: V1Pod) => boolean,
  timeoutMs = 90_000,
): Promise<V1Pod> {
  let last: V1Pod | undefined;
  await expect
    .poll(
      async () => {
        const found = await core.listNamespacedPod({ namespace, labelSelector: `job-name=${name}` });
        last = found.items[0];
        return last !== undefined && fits(last);
      },
      { timeout: timeoutMs, interval: 250 },
    )
    .toBe(true);
  if (last === undefined) throw new Error(`Job ${name} has no pod`);
  return last;
}

/** How a container of a pod ended. */
export function endOf(pod: V1Pod, container: keyof typeof containers) {
  const all = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  return all.find((one) => one.name === containers[container])?.state?.terminated;
}
