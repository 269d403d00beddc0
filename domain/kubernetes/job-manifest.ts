import { annotations, components, labels, managedBy } from './labels.js';
import type { JobManifest, PodSpec } from './manifest-types.js';
import { jobNameProblem, labelValueProblem, objectNameProblem } from './names.js';
import { podLayout } from './pod-layout.js';
import { nodeLossTaints, type PodOptions } from './pod-options.js';
import {
  agentHostContainer,
  prepareContainer,
  runnerVolumes,
  supervisorContainer,
} from './runner-containers.js';

/** Everything that the Job of one attempt depends on. */
export interface JobInput {
  /** Of the Job and of its launch Secret. */
  readonly name: string;
  readonly namespace: string;
  readonly image: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly serviceAccount: string;
  /** Port of the supervisor's probes. */
  readonly healthPort: number;
  readonly providerSecret: string;
  readonly volumeClaim: string;
  readonly runId: string;
  readonly epoch: number;
  readonly sessionId: string;
  readonly tenantId: string;
  readonly logLevel: string;
  /** Life of the runner, not of a turn; every limit of a turn ends before it. */
  readonly lifeMs: number;
  /** What the old manager named an installation by. */
  readonly origin: {
    readonly lane: string | undefined;
    readonly environment: string | undefined;
    readonly sourceCommit: string | undefined;
  };
  readonly pod: PodOptions;
}

/** What the API server would refuse, or cut, in words for a person; nothing may be created before this is empty (requirements.md A.2.b 20). */
export function jobInputProblems(input: JobInput): string[] {
  const { lane, sourceCommit } = input.origin;
  return [
    jobNameProblem(input.name),
    ...[input.volumeClaim, input.providerSecret, input.serviceAccount].map(objectNameProblem),
    ...[input.runId, input.volumeClaim, lane ?? '', sourceCommit ?? ''].map(labelValueProblem),
  ].filter((problem) => problem !== undefined);
}

/**
 * The Job of one attempt (architecture.md 7).
 *
 * - It never makes a second pod: the turn's workflow owns all retries, with a new epoch, Job and launch token each. A pod that is evicted or drained fails
 *   the Job like any other end, and a pod that is being ended has to be over before anything may count it as replaced.
 * - What the scheduler reserves is the larger one of `prepare` and `agent-host` + `supervisor`.
 * - It has no time to live: that is patched in once its diagnostics are stored.
 */
export function jobManifest(input: JobInput): JobManifest {
  const { containers } = podLayout;
  const metadata = { labels: jobLabels(input), annotations: jobAnnotations(input) };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name: input.name,
      namespace: input.namespace,
      labels: { ...metadata.labels, ...queueLabel(input.pod) },
      annotations: metadata.annotations,
    },
    spec: {
      completions: 1,
      parallelism: 1,
      backoffLimit: 0,
      activeDeadlineSeconds: Math.ceil(input.lifeMs / 1_000),
      podReplacementPolicy: 'Failed',
      podFailurePolicy: {
        // All of them end in the same; the rule that matched stands in the Job's condition, also when the pod is gone.
        rules: [
          { action: 'FailJob', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
          ...[containers.prepare, containers.supervisor].map((containerName) => ({
            action: 'FailJob' as const,
            onExitCodes: { containerName, operator: 'In' as const, values: [prerequisiteExitCode] },
          })),
        ],
      },
      // Kueue lets a Job begin that waits; without it nobody would.
      suspend: input.pod.kueueQueue !== undefined,
      template: {
        metadata: { ...metadata, annotations: { ...metadata.annotations, ...keepAnnotations } },
        spec: podSpec(input),
      },
    },
  };
}

/** Of supervisor and prepare: something that they need is wrong or missing, and another attempt would find it so again. */
const prerequisiteExitCode = 2;

/** Autoscalers that would move a pod to save a node are told not to: a turn would be cut for it. */
const keepAnnotations = {
  'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false',
  'karpenter.sh/do-not-disrupt': 'true',
};

function jobLabels({ pod, origin, volumeClaim, runId, epoch }: JobInput): Record<string, string> {
  return {
    ...pod.labels,
    ...(origin.lane === undefined ? {} : { [labels.lane]: origin.lane }),
    ...(origin.sourceCommit === undefined ? {} : { [labels.sourceCommit]: origin.sourceCommit }),
    [labels.managedBy]: managedBy,
    [labels.component]: components.runner,
    [labels.run]: runId,
    [labels.epoch]: String(epoch),
    [labels.volume]: volumeClaim,
  };
}

/** On the Job only: on its pod it would put the pod into the queue a second time. */
const queueLabel = ({ kueueQueue }: PodOptions): Record<string, string> =>
  kueueQueue === undefined ? {} : { 'kueue.x-k8s.io/queue-name': kueueQueue };

function jobAnnotations({ pod, origin, sessionId, tenantId }: JobInput): Record<string, string> {
  return {
    ...pod.annotations,
    ...(origin.environment === undefined ? {} : { [annotations.environment]: origin.environment }),
    [annotations.session]: sessionId,
    [annotations.tenant]: tenantId,
  };
}

function podSpec(input: JobInput): PodSpec {
  const { userId, groupId } = podLayout;
  const { pod } = input;
  const seccompProfile = { type: 'RuntimeDefault' } as const;
  return {
    restartPolicy: 'Never',
    serviceAccountName: input.serviceAccount,
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    hostNetwork: false,
    hostPID: false,
    hostIPC: false,
    shareProcessNamespace: false,
    os: { name: 'linux' },
    securityContext: {
      runAsNonRoot: true,
      runAsUser: userId,
      runAsGroup: groupId,
      fsGroup: groupId,
      fsGroupChangePolicy: 'OnRootMismatch',
      seccompProfile,
    },
    terminationGracePeriodSeconds: pod.terminationGraceSeconds,
    nodeSelector: { ...pod.nodeSelector },
    tolerations: [
      ...pod.tolerations,
      ...nodeLossTaints.map((key) => ({
        key,
        operator: 'Exists' as const,
        effect: 'NoExecute' as const,
        tolerationSeconds: pod.nodeLossSeconds,
      })),
    ],
    topologySpreadConstraints: pod.topologySpread.map((spread) => ({
      ...spread,
      labelSelector: { matchLabels: { [labels.component]: components.runner } },
    })),
    imagePullSecrets: pod.imagePullSecrets.map((name) => ({ name })),
    ...(pod.priorityClassName === undefined ? {} : { priorityClassName: pod.priorityClassName }),
    ...(pod.runtimeClassName === undefined ? {} : { runtimeClassName: pod.runtimeClassName }),
    initContainers: [prepareContainer(input), agentHostContainer(input)],
    containers: [supervisorContainer(input)],
    volumes: runnerVolumes(input),
  };
}
