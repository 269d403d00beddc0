import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster } from '../../infra/kubernetes/cluster.js';
import { type LocalStack, startLocalStack } from './local-stack.js';

/** API and worker on this machine, which start runners as Jobs in a namespace of a cluster. */
export interface PodStack {
  readonly local: LocalStack;
  readonly cluster: Cluster;
  /** Stops the stack; the namespace, with what is left in it, is its owner's to remove. */
  stop(): Promise<void>;
}

/** Where runners live, and what they are. */
export interface PodStackSettings {
  readonly cluster: Cluster;
  readonly kubeconfig: string;
  /** Where pods reach this machine. */
  readonly hostAddress: string;
  /** Image of runners, as the node has it. */
  readonly image: string;
  /** Default: small amounts, so that several runners fit on one node. */
  readonly podFile?: string;
  readonly runnerIdleTimeoutMs?: number;
  /** Variables of API and worker beside those that a cluster needs. */
  readonly variables?: Readonly<Record<string, string>>;
}

/** The key that pods are given, and that no container of the agent may ever see. */
export const podProviderKey = 'sk-key-of-the-pods-c0ffee';

const serviceAccount = 'agentrun-v01-runner';
const providerSecret = 'agentrun-provider';

/** Several runners fit on one small node; the agent's memory has a limit that a test can break. */
const smallPods = `
resources:
  prepare:
    requests: { cpu: 10m, memory: 32Mi, ephemeral-storage: 1Mi }
    limits: { cpu: "1", memory: 512Mi, ephemeral-storage: 256Mi }
  agentHost:
    requests: { cpu: 10m, memory: 64Mi, ephemeral-storage: 1Mi }
    limits: { cpu: "2", memory: 400Mi, ephemeral-storage: 1Gi }
  supervisor:
    requests: { cpu: 10m, memory: 64Mi, ephemeral-storage: 1Mi }
    limits: { cpu: "1", memory: 512Mi, ephemeral-storage: 256Mi }
terminationGraceSeconds: 20
`;

/** Starts the stack at an address that pods reach, with the account and the Secret of runners made in the namespace. */
export async function startPodStack(
  log: (line: string) => void,
  settings: PodStackSettings,
): Promise<PodStack> {
  const { cluster, kubeconfig, hostAddress, image } = settings;
  const { namespace } = cluster;
  await Promise.all([
    cluster.core.createNamespacedServiceAccount({
      namespace,
      body: { metadata: { name: serviceAccount }, automountServiceAccountToken: false },
    }),
    cluster.core.createNamespacedSecret({
      namespace,
      body: { metadata: { name: providerSecret }, stringData: { key: podProviderKey } },
    }),
  ]);
  const folder = mkdtempSync(join(tmpdir(), 'agentrun-pod-stack-'));
  const podFile = settings.podFile ?? join(folder, 'pods.yaml');
  if (settings.podFile === undefined) writeFileSync(podFile, smallPods);
  const local = await startLocalStack(log, undefined, {
    host: hostAddress,
    ...(settings.runnerIdleTimeoutMs === undefined
      ? {}
      : { runnerIdleTimeoutMs: settings.runnerIdleTimeoutMs }),
    variables: {
      AGENTRUN_LAUNCHER: 'kubernetes',
      KUBECONFIG: kubeconfig,
      AGENTRUN_RUNTIME_NAMESPACE: namespace,
      AGENTRUN_RUNNER_IMAGE: image,
      AGENTRUN_RUNNER_IMAGE_PULL_POLICY: 'IfNotPresent',
      AGENTRUN_RUNNER_SERVICE_ACCOUNT: serviceAccount,
      AGENTRUN_PROVIDER_SECRET: providerSecret,
      AGENTRUN_RUNNER_POD_FILE: podFile,
      AGENTRUN_SESSION_STORAGE: 'pvc',
      AGENTRUN_SESSION_STORAGE_SIZE: '64Mi',
      ...settings.variables,
    },
  });
  return {
    local,
    cluster,
    stop: async () => {
      await local.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
