import { type JobInput, jobManifest } from '../../../domain/kubernetes/job-manifest.js';
import type { JobManifest } from '../../../domain/kubernetes/manifest-types.js';
import { defaultPodOptions } from '../../../domain/kubernetes/pod-options.js';
import type { Cluster } from '../../../infra/kubernetes/cluster.js';
import { pauseImage } from '../../cluster/pause-image.js';

/** What the containers of a runner's pod do, each as a line for a shell. */
export interface ShellRunner {
  readonly prepare?: string;
  readonly agentHost?: string;
  readonly supervisor?: string;
  readonly input?: Partial<JobInput>;
  /** What is otherwise in the manifest. */
  readonly change?: (manifest: JobManifest) => void;
}

/** Answers the probes, as a supervisor does. */
export const healthy = 'mkdir -p /tmp/w && touch /tmp/w/healthz /tmp/w/readyz && httpd -p 8181 -h /tmp/w';
export const forever = 'sleep 1000';

/** A liveness probe that fails after a second or two. */
export function failingSoon({ spec }: JobManifest): void {
  const [supervisor] = spec.template.spec.containers;
  Object.assign(supervisor.livenessProbe, { initialDelaySeconds: 1, periodSeconds: 1, failureThreshold: 2 });
}

/** Makes the Job of a runner whose programs are lines of a shell: the real manifest, a real pod, no agent. */
export async function startShellRunner(
  cluster: Cluster,
  name: string,
  runner: ShellRunner = {},
): Promise<void> {
  const manifest = jobManifest({
    name,
    namespace: cluster.namespace,
    image: pauseImage,
    imagePullPolicy: 'IfNotPresent',
    serviceAccount: 'default',
    healthPort: 8_181,
    providerSecret: 'agentrun-provider',
    volumeClaim: 'session-volume',
    runId: 'run_test',
    epoch: 1,
    sessionId: 'sess_test',
    tenantId: 'acme',
    logLevel: 'info',
    lifeMs: 86_400_000,
    origin: { lane: undefined, environment: undefined, sourceCommit: undefined },
    pod: { ...defaultPodOptions, resources: smallResources, terminationGraceSeconds: 2 },
    ...runner.input,
  });
  runner.change?.(manifest);
  const { spec } = manifest.spec.template;
  const [prepare, agentHost] = spec.initContainers;
  const { readinessProbe: _, livenessProbe: __, ...unprobed } = agentHost;
  const sh = (line: string) => ({ args: ['sh', '-c', line] });
  const shell = {
    ...manifest,
    spec: {
      ...manifest.spec,
      template: {
        ...manifest.spec.template,
        spec: {
          ...spec,
          initContainers: [
            { ...prepare, ...sh(runner.prepare ?? 'true') },
            { ...unprobed, ...sh(runner.agentHost ?? forever) },
          ],
          containers: [{ ...spec.containers[0], ...sh(runner.supervisor ?? `${healthy}; ${forever}`) }],
        },
      },
    },
  };
  await cluster.batch.createNamespacedJob({ namespace: cluster.namespace, body: shell });
}

const small = {
  requests: { cpu: '10m', memory: '16Mi', 'ephemeral-storage': '16Mi' },
  limits: { cpu: '1', memory: '64Mi', 'ephemeral-storage': '64Mi' },
};
const smallResources = { prepare: small, agentHost: small, supervisor: small };

/** What every runner's pod of the namespace mounts. */
export async function makeRunnerNeeds(cluster: Cluster, secretOf: readonly string[]): Promise<void> {
  const { core, namespace } = cluster;
  await core.createNamespacedPersistentVolumeClaim({
    namespace,
    body: {
      metadata: { name: 'session-volume' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
    },
  });
  const secrets = { 'agentrun-provider': { key: 'none' } };
  for (const [name, stringData] of Object.entries(secrets))
    await core.createNamespacedSecret({ namespace, body: { metadata: { name }, stringData } });
  for (const name of secretOf)
    await core.createNamespacedSecret({
      namespace,
      body: { metadata: { name }, stringData: { 'launch.json': '{}', 'prepare.json': '{}' } },
    });
}
